"""Small NIfTI files, and zips of them."""

from collections.abc import Mapping
from io import BytesIO
from zipfile import ZIP_DEFLATED, ZipFile

import nibabel as nib
import numpy as np

from service.imaging.names import role_of
from service.imaging.phantom import SUFFIXES, zip_files

SMALL_SHAPE = (8, 9, 10)
MODALITY_NAMES = ("t1", "t1ce", "t2", "flair")


def make_nifti(voxels: np.ndarray | None = None, affine: np.ndarray | None = None, **fields: object) -> bytes:
    """Encode a NIfTI-1 file: by default a small ramp on an identity affine. Header fields may be overwritten."""
    if voxels is None:
        voxels = np.arange(np.prod(SMALL_SHAPE), dtype=np.int16).reshape(SMALL_SHAPE)
    data = nib.Nifti1Image(voxels, np.eye(4) if affine is None else affine).to_bytes()
    header = nib.Nifti1Header(data[:348], check=False)
    for name, value in fields.items():
        header[name] = value
    return header.binaryblock + data[348:]


def make_case_files(**replaced: bytes) -> dict[str, bytes]:
    """The four modalities of a small case by file name, some of them replaced."""
    return {f"{name}.nii": replaced.get(name, make_nifti()) for name in MODALITY_NAMES}


def make_zip(entries: Mapping[str, bytes], compression: int = ZIP_DEFLATED) -> bytes:
    """A compressed zip; `service.imaging.phantom.zip_files` makes stored ones."""
    body = BytesIO()
    with ZipFile(body, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return body.getvalue()


def rename_by_role(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files of a case by the name of their form part: t1, t1ce, t2, flair, seg."""
    return {SUFFIXES[role_of(name)]: data for name, data in files.items()}


def zip_case(files: Mapping[str, bytes], drop: str | None = None, **replaced: bytes) -> bytes:
    """A case as a zip, with one role dropped and the files of some roles replaced."""
    by_role = {role_of(name): data for name, data in files.items() if role_of(name) != drop}
    return zip_files({f"{SUFFIXES[role]}.nii.gz": replaced.get(role, data) for role, data in by_role.items()})
