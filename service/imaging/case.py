"""A case: its modalities on one grid and, optionally, the ground truth, identified by their file names."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from io import BytesIO
from itertools import combinations
from pathlib import PurePosixPath
from typing import Any, BinaryIO

import numpy as np

from service.imaging.errors import GeometryError, ModalityError
from service.imaging.nifti import open_nifti
from service.imaging.volume import Grid, Volume

AFFINE_TOLERANCE_MM = 1e-3


class Modality(StrEnum):
    """The four MRI modalities, in the order of the networks' input channels."""

    T1 = "T1"
    T1GD = "T1Gd"
    T2 = "T2"
    FLAIR = "FLAIR"


GROUND_TRUTH = "ground truth"

# Last word of a file name to role: BraTS 2017-2020, BraTS 2023, or the plain name of the modality.
ROLE_OF_SUFFIX: dict[str, str] = {
    **dict.fromkeys(("t1", "t1n"), Modality.T1),
    **dict.fromkeys(("t1ce", "t1c", "t1gd"), Modality.T1GD),
    **dict.fromkeys(("t2", "t2w"), Modality.T2),
    **dict.fromkeys(("flair", "t2f"), Modality.FLAIR),
    "seg": GROUND_TRUTH,
}


@dataclass(frozen=True)
class Case:
    """Volumes (X, Y, Z) of the modalities on one grid, and the ground truth's label map on the same grid."""

    images: Mapping[Modality, Volume]  # at least one, in the order of Modality
    ground_truth: Volume | None

    @property
    def missing(self) -> tuple[Modality, ...]:
        """The modalities that the case lacks."""
        return tuple(modality for modality in Modality if modality not in self.images)

    @property
    def grid(self) -> Grid:
        """The grid that all volumes share."""
        return next(iter(self.images.values())).grid

    @property
    def volumes(self) -> dict[str, Volume]:
        """All volumes by role: the modalities and, if present, GROUND_TRUTH."""
        truth = {GROUND_TRUTH: self.ground_truth} if self.ground_truth else {}
        return {str(modality): volume for modality, volume in self.images.items()} | truth


def case_of(volumes: Mapping[str, Volume]) -> Case:
    """Make a case from a mapping of roles to volumes; the inverse of `Case.volumes`."""
    images = {modality: volumes[modality] for modality in Modality if modality in volumes}
    return Case(images, volumes.get(GROUND_TRUTH))


def is_nifti_name(name: str) -> bool:
    """Whether a file name is that of a NIfTI image. The `._` files that macOS adds to archives are not images."""
    base = _base_name(name)
    is_folder = name.endswith("/")  # some distributions of BraTS name folders like images
    return base.endswith((".nii", ".nii.gz")) and not base.startswith("._") and not is_folder


def suffix_of(name: str) -> str:
    """Last word of a file name without its extension, in lower case."""
    stem = re.sub(r"\.nii(\.gz)?$", "", _base_name(name))
    return re.split(r"[_\-. ]", stem)[-1]


def role_of(name: str) -> str | None:
    """The modality, or GROUND_TRUTH, that a file name ends in; None for other names."""
    return ROLE_OF_SUFFIX.get(suffix_of(name))


def assign_roles(names: Iterable[str]) -> dict[str, str]:
    """File name by role: the modalities and, if present, GROUND_TRUTH.

    Raises ModalityError if there is no modality or a role is found more than once.
    """
    found: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        if role := role_of(name):
            found[role].append(name)
    for role, candidates in found.items():
        if len(candidates) > 1:
            raise ModalityError(f"{role}: expected one volume, found {len(candidates)}. Send one case at a time.")
    if not found.keys() - {GROUND_TRUTH}:
        raise _missing_error(Modality, found)
    return {role: name for role, [name] in found.items()}


def read_case(files: Mapping[str, bytes]) -> Case:
    """Read a case from a mapping of file names to the bytes of NIfTI files. Raises like `read_case_from`."""
    return read_case_from({name: BytesIO(data) for name, data in files.items()})


def read_case_from(
    files: Mapping[str, BinaryIO], allocate: Callable[[str, int], Any] = lambda _, size_bytes: bytearray(size_bytes)
) -> Case:
    """Read a case from a mapping of file names to open NIfTI files; files whose names have no role are ignored.

    All headers are checked before any voxel is read and before `allocate` is called, which takes a role and a size in
    bytes and returns a writable buffer.
    Raises ModalityError, MalformedImageError, OversizedImageError or GeometryError.
    """
    images = {role: open_nifti(files[name], role) for role, name in assign_roles(files).items()}
    reference = next(modality for modality in Modality if modality in images)
    for role, image in images.items():
        _check_same_grid(role, image.grid, reference, images[reference].grid)
    with ThreadPoolExecutor() as threads:
        read = threads.map(lambda image: image.read(allocate(image.name, image.size_bytes)), images.values())
        return case_of(dict(zip(images, read, strict=True)))


def check_complete(case: Case, hint: str = "") -> None:
    """Raise ModalityError, whose message ends with the hint, if a modality is missing."""
    if case.missing:
        raise _missing_error(case.missing, case.volumes, hint)


def check_distinct(images: Mapping[Modality, Volume]) -> None:
    """Raise ModalityError if two modalities have the same voxels: one file was sent twice."""
    for one, other in combinations(images, 2):
        if np.array_equal(images[one].voxels, images[other].voxels):
            raise ModalityError(f"{one} and {other}: expected two different images, found the same one twice.")


def _missing_error(missing: Iterable[Modality], found: Iterable[str], hint: str = "") -> ModalityError:
    return ModalityError(
        f"{', '.join(missing)}: missing; found {', '.join(sorted(found)) or 'none of the modalities'}. "
        f"The last word of a file's name, or the name of a form's part, must be {_suffixes()}.{hint}"
    )


def _check_same_grid(role: str, grid: Grid, reference_role: str, reference: Grid) -> None:
    if grid.shape != reference.shape:
        raise GeometryError(f"{role}: expected the shape of {reference_role}, {reference.shape}, found {grid.shape}.")
    if not np.allclose(grid.affine, reference.affine, rtol=0, atol=AFFINE_TOLERANCE_MM, equal_nan=True):
        raise GeometryError(
            f"{role}: expected the affine of {reference_role}, {reference.affine.round(4).tolist()}, "
            f"found {grid.affine.round(4).tolist()}. Register and resample the modalities to one grid."
        )


def _base_name(name: str) -> str:
    return PurePosixPath(name.replace("\\", "/")).name.lower()


def _suffixes() -> str:
    return ", ".join(f"{suffix} ({role})" for suffix, role in ROLE_OF_SUFFIX.items())
