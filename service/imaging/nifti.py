"""Reading headers of NIfTI-1 and NIfTI-2, and writing NIfTI-1."""

from collections.abc import Mapping
from typing import Any, BinaryIO

import nibabel as nib
import numpy as np
from isal import igzip
from numpy.typing import NDArray

from service.imaging.errors import MalformedImageError
from service.imaging.header_checks import checked_grid, checked_type, is_plausible
from service.imaging.open_image import MAX_EXTENSION_BYTES, OpenImage, read_exactly
from service.imaging.volume import Volume

SIZE_FIELD_BYTES = 4  # the header begins with its own size, in the byte order of the file
HEADER_TYPES: Mapping[int, Any] = {header.sizeof_hdr: header for header in (nib.Nifti1Header, nib.Nifti2Header)}
MAX_DIMENSIONS = 7
MM_PER_UNIT = {"meter": 1000.0, "micron": 0.001}


def header_size(head: bytes) -> int | None:
    """Size of the header that begins with these bytes; None if they do not begin a NIfTI header."""
    sizes = {int.from_bytes(head[:SIZE_FIELD_BYTES], order) for order in ("little", "big")}
    return next(iter(sizes & HEADER_TYPES.keys()), None)


def read_nifti(size: int, stream: BinaryIO, second: BinaryIO | None, name: str) -> OpenImage:
    """Read a header of this size; `second` is the stream of the .img file of a .hdr and .img pair.

    Raises MalformedImageError, OversizedImageError, GeometryError, or one of READ_ERRORS.
    """
    header = HEADER_TYPES[size](read_exactly(stream, size))
    magic = header["magic"].item()
    if magic == header.pair_magic and not second:
        raise MalformedImageError(f"{name}: expected both files of a .hdr and .img pair, found one of them.")
    voxels = second if magic == header.pair_magic and second else stream
    _skip_to_voxels(header, voxels, size if voxels is stream else 0, name)
    dimensions = int(header["dim"][0])
    if not 0 < dimensions <= MAX_DIMENSIONS:
        raise MalformedImageError(f"{name}: expected a three-dimensional image, found {dimensions} dimensions.")
    grid = checked_grid(header.get_data_shape(), _affine_mm(header), name)
    stored_type = checked_type(header.get_data_dtype(), name)
    return OpenImage(name, voxels, grid, stored_type, _scaling(header))


def _affine_mm(header: nib.Nifti1Header) -> NDArray[np.float64]:
    """The affine in millimetres. Units that would make the voxels implausible are ignored: the field is often wrong."""
    affine: NDArray[np.float64] = header.get_best_affine()
    scale = MM_PER_UNIT.get(header.get_xyzt_units()[0], 1.0)
    in_mm = np.diag([scale, scale, scale, 1.0]) @ affine
    return in_mm if is_plausible(in_mm) else affine


def _scaling(header: nib.Nifti1Header) -> tuple[float, float] | None:
    """Slope and intercept; None without scaling. An intercept that is NaN counts as 0. Raises ValueError."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or not np.isfinite(slope):
        return None
    if np.isinf(intercept):
        raise ValueError("an infinite intercept")
    intercept = 0.0 if np.isnan(intercept) else intercept
    return None if (slope, intercept) == (1, 0) else (slope, intercept)


def _skip_to_voxels(header: nib.Nifti1Header, stream: BinaryIO, position: int, name: str) -> None:
    first = 0 if position == 0 else position + SIZE_FIELD_BYTES  # every single file has four bytes about extensions
    offset, most = float(header["vox_offset"]) or first, first + MAX_EXTENSION_BYTES  # 0: not stated
    if not first <= offset <= most:  # rejects NaN as well
        raise MalformedImageError(f"{name}: expected voxels from byte {first} to {most}, found {offset:g}.")
    read_exactly(stream, int(offset) - position)


def encode_nifti(volume: Volume, slope: float = 1.0) -> bytes:
    """The volume as a .nii.gz file without a time stamp: equal volumes give equal bytes.

    Readers multiply the stored voxels by the slope.
    """
    image = nib.Nifti1Image(volume.voxels, volume.affine)
    image.header.set_xyzt_units("mm")
    image.header.set_slope_inter(slope, 0)
    return igzip.compress(image.to_bytes(), compresslevel=1, mtime=0)
