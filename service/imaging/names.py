"""What the files of a case are, by their names."""

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import PurePosixPath

from service.imaging.case import BRAIN_MASK, GROUND_TRUTH, Case, Modality
from service.imaging.errors import ModalityError

EXTENSIONS = (".nii", ".nii.gz", ".nrrd", ".mha", ".mgh", ".mgz", ".hdr", ".img", ".hdr.gz", ".img.gz")

# Last word of a file name to role: BraTS 2017-2020, BraTS 2023, or the plain name of the modality.
ROLE_OF_SUFFIX: dict[str, str] = {
    **dict.fromkeys(("t1", "t1n"), Modality.T1),
    **dict.fromkeys(("t1ce", "t1c", "t1gd"), Modality.T1GD),
    **dict.fromkeys(("t2", "t2w"), Modality.T2),
    **dict.fromkeys(("flair", "t2f"), Modality.FLAIR),
    "seg": GROUND_TRUTH,
    "mask": BRAIN_MASK,
}


def is_image_name(name: str) -> bool:
    """Whether a file name is that of an image. The `._` files that macOS adds to archives are not images."""
    base = _base_name(name)
    is_folder = name.endswith("/")  # some distributions of BraTS name folders like images
    return base.endswith(EXTENSIONS) and not base.startswith("._") and not is_folder


def suffix_of(name: str) -> str:
    """Last word of a file name without its extension, in lower case."""
    base = _base_name(name)
    stem = base.removesuffix(max((end for end in EXTENSIONS if base.endswith(end)), key=len, default=""))
    return re.split(r"[_\-. ]", stem)[-1]


def role_of(name: str) -> str | None:
    """The modality, or GROUND_TRUTH, that a file name ends in; None for other names."""
    return ROLE_OF_SUFFIX.get(suffix_of(name))


def has_images(names: Iterable[str]) -> bool:
    """Whether one of the files is an image whose name tells its role."""
    return any(role_of(name) for name in names if is_image_name(name))


def assign_roles(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """File names by role: the modalities and, if present, GROUND_TRUTH and BRAIN_MASK; two for a .hdr and .img pair.

    Raises ModalityError if there is no modality or a role is found more than once.
    """
    found: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        if role := role_of(name):
            found[role].append(name)
    for role, candidates in found.items():
        if len(candidates) > 1 and not _is_pair(sorted(candidates)):
            raise ModalityError(f"{role}: expected one volume, found {len(candidates)}. Send one case at a time.")
    if not found.keys() - {GROUND_TRUTH, BRAIN_MASK}:
        raise _missing_error(Modality, found, " A zip of a DICOM study needs no such names.")
    return {role: tuple(sorted(candidates)) for role, candidates in found.items()}


def check_complete(case: Case, hint: str = "") -> None:
    """Raise ModalityError, whose message ends with the hint, if a modality is missing."""
    if case.missing:
        raise _missing_error(case.missing, case.volumes, hint)


def _is_pair(names: list[str]) -> bool:
    """Whether these are the two files of a .hdr and .img pair, in this order."""
    header, *voxels = (re.sub(r"\.gz$", "", _base_name(name)) for name in names)
    return header.endswith(".hdr") and voxels == [header.removesuffix(".hdr") + ".img"]


def _missing_error(missing: Iterable[Modality], found: Iterable[str], hint: str = "") -> ModalityError:
    return ModalityError(
        f"{', '.join(missing)}: missing; found {', '.join(sorted(found)) or 'none of the modalities'}. "
        f"The last word of a file's name, or the name of a form's part, must be {_suffixes()}.{hint}"
    )


def _base_name(name: str) -> str:
    return PurePosixPath(name.replace("\\", "/")).name.lower()


def _suffixes() -> str:
    return ", ".join(f"{suffix} ({role})" for suffix, role in ROLE_OF_SUFFIX.items())
