"""Reading a case from the DICOM files of a study."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from service.dicom.choice import Chosen, choose_series
from service.dicom.frames import HEAD_BYTES, SYNTAX, Frame, is_dicom, read_frames
from service.dicom.isolation import run_isolated
from service.dicom.stacks import Stack, make_stacks
from service.imaging.case import Case, Modality, Series
from service.imaging.errors import MalformedImageError
from service.imaging.header_checks import checked_grid
from service.imaging.volume import Volume

Files = Mapping[str, BinaryIO]  # opened when they are accessed


def is_study(files: Files) -> bool:
    """Whether one of the files is DICOM."""
    return any(is_dicom(file.read(HEAD_BYTES)) for file in files.values())


def read_study(
    files: Files, wanted: Mapping[Modality, int], allow_missing: bool, allocate: Callable[[str, int], Any]
) -> Case:
    """Read the chosen series of a study; other files are ignored.

    All headers are checked before any pixel is read and before `allocate` is called, which takes a role and a size in
    bytes and returns a buffer in memory that is shared with child processes.
    Raises ModalityError, MalformedImageError, OversizedImageError or GeometryError.
    """
    with np.errstate(all="ignore"):  # what overflows is not finite, and rejected
        chosen = choose_stacks(files, wanted, allow_missing)
        for modality, candidate in chosen.items():
            checked_grid(candidate.stack.grid.shape, candidate.stack.grid.affine, modality)
        stacks = {modality: candidate.stack for modality, candidate in chosen.items()}
        images = {modality: read_stack(stack, modality, files, allocate) for modality, stack in stacks.items()}
    series = {modality: Series(candidate.stack.number, candidate.reason) for modality, candidate in chosen.items()}
    return Case(images, series=series)


def read_headers(files: Files, stack: Stack) -> list[Dataset]:
    """The whole headers of the files of a stack, in the order of its frames, without pixels."""
    names = dict.fromkeys(frame.file for frame in stack.frames)
    return [dcmread(files[name], stop_before_pixels=True, force=True) for name in names]


def choose_stacks(files: Files, wanted: Mapping[Modality, int], allow_missing: bool) -> Chosen:
    """The series of a study that are used. Raises like `choose_series`."""
    frames = [frame for name, file in files.items() for frame in read_frames(file, name)]
    return choose_series(make_stacks(frames), wanted, allow_missing)


def read_stack(stack: Stack, name: str, files: Files, allocate: Callable[[str, int], Any]) -> Volume:
    """Read the voxels of a stack into a buffer from `allocate`, as in `read_study`. Raises MalformedImageError."""
    grid, dtype = stack.grid, _voxel_type(stack.frames)
    voxels = np.frombuffer(allocate(name, int(np.prod(grid.shape)) * dtype.itemsize), dtype)
    slices = voxels.reshape(len(stack.frames), *stack.frames[0].shape)  # (Z, Y, X), the order of DICOM's pixels
    if not run_isolated(lambda: _decode(stack.frames, files, slices)):
        raise MalformedImageError(
            f"{name}: expected whole images in series {stack.number}, found damage, or a compression that cannot be "
            f"read ({UID(stack.frames[0].text(SYNTAX)).name}); dcmdjpeg decompresses JPEG."
        )
    return Volume(voxels.reshape(grid.shape, order="F"), grid.affine)


def _decode(frames: Sequence[Frame], files: Files, slices: NDArray[Any]) -> None:
    """Write the pixels of frames into slices (Z, Y, X)."""
    places: defaultdict[str, list[int]] = defaultdict(list)
    for place, frame in enumerate(frames):
        places[frame.file].append(place)
    for file, of_file in places.items():
        indices = [frames[place].index for place in of_file]
        dataset = dcmread(files[file], force=True)
        if SYNTAX not in dataset.file_meta:  # a file without preamble and meta header
            is_implicit, _ = dataset.original_encoding
            dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if is_implicit else ExplicitVRLittleEndian
        pixels = iter_pixels(dataset, indices=indices)
        for place, image in zip(of_file, pixels, strict=True):
            slope, intercept = frames[place].scaling
            is_scaled = slices.dtype == np.float32
            slices[place] = image * np.float32(slope) + np.float32(intercept) if is_scaled else image


def _voxel_type(frames: Sequence[Frame]) -> np.dtype[Any]:
    """The type of the stored values, or float32 if they are scaled or of several types."""
    types = {frame.stored_type for frame in frames}
    is_scaled = any(frame.scaling != (1.0, 0.0) for frame in frames)
    return np.dtype(np.float32) if is_scaled or len(types) > 1 else types.pop()
