"""Images in memory, written as NIfTI files."""

from pathlib import Path
from typing import Any

import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.nifti1 import Nifti1Image
from nibabel.spatialimages import HeaderDataError, SpatialImage
from numpy.typing import NDArray

from glioserve_client.errors import InvalidCaseError

# Types that NIfTI readers seldom or never know, and those that are stored instead.
STORED_TYPES = {np.dtype(bool): np.uint8, np.dtype(np.float16): np.float32}


def write_image(path: Path, name: str, image: SpatialImage | tuple[NDArray[Any], NDArray[Any]]) -> None:
    """Write an image of nibabel, or an array (X, Y, Z) and its affine to RAS+ millimetres. Raises InvalidCaseError."""
    voxels, affine = image if isinstance(image, tuple) else (np.asanyarray(image.dataobj), image.affine)
    if affine is None or np.shape(affine) != (4, 4):
        raise InvalidCaseError(f"{name}: expected an affine of 4 x 4 numbers, found {_describe(affine)}.")
    try:
        Nifti1Image(_storable(name, np.asanyarray(voxels)), np.asarray(affine, np.float64)).to_filename(path)
    except (HeaderDataError, ImageFileError) as error:
        raise InvalidCaseError(f"{name}: expected voxels that NIfTI can hold, found {_describe(voxels)}.") from error


def _storable(name: str, voxels: NDArray[Any]) -> NDArray[Any]:
    """The voxels in a type that NIfTI readers know; 64-bit integers as 32-bit ones. Raises InvalidCaseError."""
    if voxels.dtype.kind not in "iu" or voxels.dtype.itemsize < np.dtype(np.int64).itemsize:
        return voxels.astype(STORED_TYPES.get(voxels.dtype, voxels.dtype), copy=False)
    limits = np.iinfo(np.int32)
    if voxels.size and (voxels.min() < limits.min or voxels.max() > limits.max):
        raise InvalidCaseError(f"{name}: expected integers of at most 32 bits, found larger ones.")
    return voxels.astype(np.int32)


def _describe(value: object) -> str:
    array = np.asanyarray(value)
    return f"{array.dtype} of shape {array.shape}" if array.shape else "none"
