"""Checks on what the header of an image says: type, shape and affine decide how its voxels are read."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.imaging.errors import GeometryError, MalformedImageError, OversizedImageError
from service.imaging.volume import Grid

MAX_VOXELS = 2**26  # 512 x 512 x 256: four such float32 volumes take 1 GiB
VOXEL_TYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64")
MIN_SPACING_MM, MAX_SPACING_MM = 0.1, 20.0  # thick slices have 7 mm; values outside are in other units
MAX_CONDITION = 1e4  # condition number of an affine; beyond it, the affine is effectively singular


def checked_type(dtype: np.dtype[Any], name: str) -> np.dtype[Any]:
    """Stored voxel type. Raises MalformedImageError unless it is one of VOXEL_TYPES."""
    if dtype.name not in VOXEL_TYPES:
        raise MalformedImageError(f"{name}: expected integer or floating-point voxels of up to 64 bits, found {dtype}.")
    return dtype


def checked_grid(shape: Sequence[int], affine: NDArray[Any], name: str) -> Grid:
    """The grid of an image. Raises MalformedImageError, OversizedImageError beyond MAX_VOXELS, or GeometryError."""
    return Grid(_checked_shape(shape, name), _checked_affine(affine, name))


def is_plausible(affine: NDArray[np.float64]) -> bool:
    """Whether an affine in millimetres has voxels of a size that occurs."""
    spacing_mm = np.linalg.norm(affine[:3, :3], axis=0)
    return bool(spacing_mm.min() >= MIN_SPACING_MM and spacing_mm.max() <= MAX_SPACING_MM)


def _checked_shape(shape: Sequence[int], name: str) -> tuple[int, int, int]:
    if len(shape) < 3:
        raise MalformedImageError(f"{name}: expected a three-dimensional image, found {len(shape)} dimensions.")
    x, y, z, *more = (int(length) for length in shape)
    if any(length != 1 for length in more) or min(x, y, z) < 1:
        found = tuple(int(length) for length in shape)
        raise MalformedImageError(f"{name}: expected a three-dimensional image, found shape {found}.")
    if x * y * z > MAX_VOXELS:
        raise OversizedImageError(f"{name}: expected at most {MAX_VOXELS} voxels, found {x} x {y} x {z}.")
    return x, y, z


def _checked_affine(affine: NDArray[Any], name: str) -> NDArray[np.float64]:
    affine = np.asarray(affine, dtype=np.float64)
    if not np.isfinite(affine).all() or np.linalg.cond(affine[:3, :3]) > MAX_CONDITION:
        raise GeometryError(f"{name}: expected an affine that is finite and invertible, found {affine.tolist()}.")
    if not is_plausible(affine):
        found = " x ".join(f"{length:g}" for length in np.linalg.norm(affine[:3, :3], axis=0))
        raise GeometryError(f"{name}: expected voxels of {MIN_SPACING_MM} to {MAX_SPACING_MM} mm, found {found} mm.")
    return affine
