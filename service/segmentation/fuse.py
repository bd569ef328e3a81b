"""Fusion of the networks' masks into nested regions: ET within TC within WT."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from service.imaging.labels import Region, RegionMasks

Mask = NDArray[np.bool_]  # (X, Y, Z)
CUBIC_MM_ML = 0.001  # volume of a voxel of the working grid
NO_MINIMUM: Mapping[str, float] = {}


class Fusion:
    """Fuses the masks of one region after the other, from the outermost inwards.

    Each mask is restricted to its enclosing region. A network therefore needs to run only on the slices that contain
    that region: elsewhere fusion would remove its whole prediction.
    """

    def __init__(self, slices_with_brain: NDArray[np.intp], voxel_ml: float = CUBIC_MM_ML) -> None:
        self.masks: dict[Region, Mask] = {}
        self.voxels_changed_by_nesting = 0
        self.slices_to_run = slices_with_brain  # indices of the slices that the next network has to see
        self._voxel_ml = voxel_ml

    def add(self, masks: RegionMasks, min_volume_ml: Mapping[str, float] = NO_MINIMUM) -> None:
        """Fuse the masks that one network predicted; a region below its minimum volume becomes empty."""
        for region, mask in masks.items():
            nested, changed = nest(mask, self._innermost)
            self.masks[region] = drop_small(nested, min_volume_ml.get(region, 0.0), self._voxel_ml)
            self.voxels_changed_by_nesting += changed
            self.slices_to_run = np.flatnonzero(self.masks[region].any(axis=(0, 1)))

    @property
    def _innermost(self) -> Mask | None:
        return next(reversed(self.masks.values()), None)


def nest(mask: Mask, outer: Mask | None) -> tuple[Mask, int]:
    """Restrict a region's mask to its enclosing region, if any; also return the number of voxels removed.

    The inner region yields, because the outer one is easier to segment and its network makes fewer errors.
    """
    if outer is None:
        return mask, 0
    nested = mask & outer
    return nested, int(np.count_nonzero(mask) - np.count_nonzero(nested))


def drop_small(mask: Mask, min_volume_ml: float, voxel_ml: float) -> Mask:
    """The mask, or an empty one if it is smaller than the minimum volume on the region's model card.

    In a patient without enhancing tumour, a few voxels predicted as such are most often a vessel.
    """
    return mask & (np.count_nonzero(mask) * voxel_ml >= min_volume_ml)
