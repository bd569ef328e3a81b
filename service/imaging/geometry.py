"""Resampling from a grid of any orientation and voxel size to LPS, 1 mm, and masks back again."""

from typing import Any

import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation, ornt_transform
from numpy.typing import NDArray
from scipy import ndimage

from service.imaging.errors import GeometryError
from service.imaging.volume import Grid, Volume

LPS_AXES = np.diag([-1.0, -1.0, 1.0])  # columns: the steps of an LPS, 1 mm grid in RAS+ millimetres
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # of points; its own inverse
MAX_EXTENT_MM = 512
MAX_WORKING_VOXELS = 2**25  # 1 mm voxels: a cube of 32 cm, larger than any head


def working_grid(grid: Grid) -> Grid:
    """The LPS, 1 mm grid (axial slices along the last axis) that the networks work on.

    An axis-aligned grid with 1 mm voxels keeps its lattice, with reordered axes; any other is covered by a new one.
    Raises GeometryError for a field of view of more than 512 mm along an axis, or a new grid of more than 34 litres.
    """
    check_extent(grid)
    reordered = reorder(Volume(np.broadcast_to(np.int8(0), grid.shape), grid.affine), LPS_AXES).grid
    if reordered.coincides(_lps_grid(reordered.shape, reordered.affine[:3, 3])):
        return reordered
    covering = covering_grid(grid)
    x, y, z = covering.shape
    if x * y * z > MAX_WORKING_VOXELS:
        raise GeometryError(
            f"Field of view: expected at most {MAX_WORKING_VOXELS / 1e6:.0f} litres, found {x} x {y} x {z} mm."
        )
    return covering


def check_extent(grid: Grid, name: str = "Field of view") -> None:
    """Raise GeometryError, which begins with the name, for a field of view of more than 512 mm along an axis."""
    corners_lps = grid.corners @ LPS_AXES
    extent_mm = corners_lps.max(axis=0) - corners_lps.min(axis=0)
    if extent_mm.max() > MAX_EXTENT_MM:
        found = " x ".join(f"{length:.0f}" for length in extent_mm)
        raise GeometryError(f"{name}: expected at most {MAX_EXTENT_MM} mm along each axis, found {found} mm.")


def covering_grid(grid: Grid) -> Grid:
    """An LPS, 1 mm grid that covers another grid."""
    corners_lps = grid.corners @ LPS_AXES
    low, high = corners_lps.min(axis=0), corners_lps.max(axis=0)
    x, y, z = (int(length) + 1 for length in np.ceil((high - low).round(3)))
    return _lps_grid((x, y, z), LPS_AXES @ low)


def resample(volume: Volume, grid: Grid, box: tuple[slice, ...] = ()) -> NDArray[Any]:
    """Values of a volume at the voxels of another grid, or of a box in it, (X, Y, Z); zero outside the volume.

    Where both grids coincide but for the order of their axes, the result is a view of the volume's voxels; otherwise
    it is interpolated linearly, as float32.
    """
    reordered = reorder(volume, grid.affine[:3, :3])
    if reordered.grid.coincides(grid):
        return reordered.voxels[box]
    target = _crop(grid, box) if box else grid
    return ndimage.affine_transform(
        volume.voxels.astype(np.float32, copy=False),
        np.linalg.inv(volume.affine) @ target.affine,
        output_shape=target.shape,
        order=1,
        mode="grid-constant",
    )


def resample_mask(mask: NDArray[np.bool_], source: Grid, target: Grid) -> NDArray[np.bool_]:
    """Resample a mask to another grid: interpolate and threshold at 0.5, so that nested masks stay nested."""
    return at_least_half(resample(Volume(mask, source.affine), target))


def at_least_half(fraction: NDArray[Any]) -> NDArray[np.bool_]:
    """Threshold a resampled mask at 0.5."""
    return fraction if fraction.dtype == np.bool_ else fraction >= 0.5


def bounding_box(mask: NDArray[np.bool_]) -> tuple[slice, slice, slice]:
    """Bounding box of a mask (X, Y, Z) that is not empty."""
    x, y, z = (np.flatnonzero(mask.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1)))
    return slice(x[0], x[-1] + 1), slice(y[0], y[-1] + 1), slice(z[0], z[-1] + 1)


def _crop(grid: Grid, box: tuple[slice, ...]) -> Grid:
    """The part of a grid that lies in a box of slices with start and stop."""
    x, y, z = (extent.stop - extent.start for extent in box)
    affine = grid.affine.copy()
    affine[:3, 3] += grid.affine[:3, :3] @ [extent.start for extent in box]
    return Grid((x, y, z), affine)


def _lps_grid(shape: tuple[int, int, int], origin: NDArray[np.float64]) -> Grid:
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = LPS_AXES, origin
    return Grid(shape, affine)


def reorder(volume: Volume, axes: NDArray[np.float64]) -> Volume:
    """The same voxels with array axes transposed and flipped to the nearest of these axis vectors (3, 3) in RAS+."""
    transform = ornt_transform(io_orientation(volume.affine), io_orientation(np.pad(axes, (0, 1))))
    voxels = apply_orientation(volume.voxels, transform)
    return Volume(voxels, volume.affine @ inv_ornt_aff(transform, volume.voxels.shape))
