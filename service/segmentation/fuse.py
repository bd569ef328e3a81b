"""Fusion of the networks' masks into nested regions: ET within TC within WT."""

import numpy as np
from numpy.typing import NDArray

from service.imaging.labels import Region, RegionMasks

Mask = NDArray[np.bool_]  # (X, Y, Z)


def fuse(masks: RegionMasks) -> tuple[dict[Region, Mask], int]:
    """Restrict every region to WT, and extend TC by ET; also return how many voxels that changed.

    WT restricts the others, because its network makes the fewest errors: what the others find far from it is most often
    a vessel or a ventricle. TC yields to ET, which is more conspicuous: restricting ET to TC would lose a correct ET
    wherever the TC network misses the core.
    """
    inside_out = sorted(masks, key=list(Region).index, reverse=True)
    outermost = masks[inside_out[-1]]
    fused: dict[Region, Mask] = {}
    inner, changed = np.zeros_like(outermost), 0
    for region in inside_out:
        fused[region] = inner = (masks[region] | inner) & outermost
        changed += int(np.count_nonzero(inner ^ masks[region]))
    return {region: fused[region] for region in masks}, changed


def slices_with(mask: Mask) -> NDArray[np.intp]:
    """Indices of the axial slices that a mask reaches."""
    return np.flatnonzero(mask.any(axis=(0, 1)))
