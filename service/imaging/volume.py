"""A 3D image together with the grid that its voxels lie on."""

from dataclasses import dataclass
from functools import cached_property

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

AFFINE_TOLERANCE_MM = 1e-3


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

    def coincides(self, other: "Grid") -> bool:
        """Whether another grid has the same shape and, within rounding, the same affine."""
        return self.shape == other.shape and np.allclose(self.affine, other.affine, rtol=0, atol=AFFINE_TOLERANCE_MM)

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
