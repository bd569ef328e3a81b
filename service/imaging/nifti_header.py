"""Checks on the fields of a NIfTI-1 header that decide how its voxels are read."""

from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from service.imaging.errors import GeometryError, MalformedImageError, OversizedImageError

MAX_VOXELS = 2**26  # 512 x 512 x 256: four such float32 volumes take 1 GiB
VOXEL_TYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64")
MIN_SPACING_MM, MAX_SPACING_MM = 0.1, 20.0  # thick slices have 7 mm; values outside are in other units
MAX_CONDITION = 1e4  # condition number of an affine; beyond it, the affine is effectively singular

HEADER_BYTES, FIRST_VOXEL_BYTE = 348, 352  # of NIfTI-1 in a single file
MAX_DIMENSIONS = 7  # of NIfTI-1
MAX_EXTENSION_BYTES = 2**20  # header extensions between header and voxels, which are skipped


def checked_offset(header: nib.Nifti1Header, name: str) -> int:
    """Byte offset of the first voxel. Raises MalformedImageError."""
    if header["magic"].item() == header.pair_magic:
        raise MalformedImageError(f"{name}: expected one file, .nii or .nii.gz, found half of a .hdr and .img pair.")
    offset, most = float(header["vox_offset"]), FIRST_VOXEL_BYTE + MAX_EXTENSION_BYTES
    if not FIRST_VOXEL_BYTE <= offset <= most:  # rejects NaN as well
        raise MalformedImageError(f"{name}: expected voxels from byte {FIRST_VOXEL_BYTE} to {most}, found {offset:g}.")
    return int(offset)


def checked_type(header: nib.Nifti1Header, name: str) -> np.dtype[Any]:
    """Stored voxel type. Raises MalformedImageError unless it is one of VOXEL_TYPES."""
    dtype: np.dtype[Any] = header.get_data_dtype()
    if dtype.name not in VOXEL_TYPES:
        raise MalformedImageError(f"{name}: expected integer or floating-point voxels of up to 64 bits, found {dtype}.")
    return dtype


def checked_shape(header: nib.Nifti1Header, name: str) -> tuple[int, int, int]:
    """Shape (X, Y, Z). Raises MalformedImageError, or OversizedImageError beyond MAX_VOXELS."""
    dimensions = int(header["dim"][0])
    if not 3 <= dimensions <= MAX_DIMENSIONS:
        raise MalformedImageError(f"{name}: expected a three-dimensional image, found {dimensions} dimensions.")
    shape = tuple(int(length) for length in header.get_data_shape())
    if any(length != 1 for length in shape[3:]) or min(shape) < 1:
        raise MalformedImageError(f"{name}: expected a three-dimensional image, found shape {shape}.")
    x, y, z = shape[:3]
    if x * y * z > MAX_VOXELS:
        raise OversizedImageError(f"{name}: expected at most {MAX_VOXELS} voxels, found {x} x {y} x {z}.")
    return x, y, z


def checked_affine(header: nib.Nifti1Header, name: str) -> NDArray[np.float64]:
    """Affine (4, 4) to RAS+ millimetres. Raises GeometryError if it is singular or the voxel size implausible."""
    affine = np.asarray(header.get_best_affine(), dtype=np.float64)
    if not np.isfinite(affine).all() or np.linalg.cond(affine[:3, :3]) > MAX_CONDITION:
        raise GeometryError(f"{name}: expected an affine that is finite and invertible, found {affine.tolist()}.")
    spacing_mm = np.linalg.norm(affine[:3, :3], axis=0)
    if spacing_mm.min() < MIN_SPACING_MM or spacing_mm.max() > MAX_SPACING_MM:
        found = " x ".join(f"{length:g}" for length in spacing_mm)
        raise GeometryError(f"{name}: expected voxels of {MIN_SPACING_MM} to {MAX_SPACING_MM} mm, found {found} mm.")
    return affine
