"""A 3D image together with the grid that its voxels lie on."""

from dataclasses import dataclass
from functools import cached_property

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

COINCIDENCE_MM = 0.1  # registration programs store affines with errors of some hundredths of a millimetre


@dataclass(frozen=True)
class Grid:
    """Shape (X, Y, Z) and affine (4, 4) from voxel indices to RAS+ millimetres, as in NIfTI."""

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]

    @cached_property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size along each array axis."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0).tolist()
        return x, y, z

    @property
    def orientation(self) -> str:
        """Nearest anatomical direction of each array axis, such as LPS."""
        return "".join(nib.aff2axcodes(self.affine))

    @property
    def corners(self) -> NDArray[np.float64]:
        """Centres of the eight corner voxels in RAS+ millimetres, (8, 3)."""
        x, y, z = self.shape
        indices = np.stack(np.meshgrid([0, x - 1], [0, y - 1], [0, z - 1]), axis=-1).reshape(-1, 3)
        corners: NDArray[np.float64] = nib.affines.apply_affine(self.affine, indices)
        return corners

    def distance_mm(self, other: "Grid") -> float:
        """The largest distance, along a world axis, between the corners of two grids of the same shape."""
        return float(np.abs(self.corners - other.corners).max())

    def coincides(self, other: "Grid") -> bool:
        """Whether another grid has the same shape and its voxels are at the same places, within COINCIDENCE_MM."""
        return self.shape == other.shape and self.distance_mm(other) < COINCIDENCE_MM

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return abs(float(np.linalg.det(self.affine[:3, :3]))) / 1000


@dataclass(frozen=True)
class Volume:
    """One image: voxels (X, Y, Z) in the axis order of the grid, and the affine that places them."""

    voxels: NDArray[np.generic]
    affine: NDArray[np.float64]

    @property
    def grid(self) -> Grid:
        """The grid that the voxels lie on."""
        x, y, z = self.voxels.shape
        return Grid((x, y, z), self.affine)
