"""Fusion of the networks' masks into nested regions: ET within TC within WT."""

import numpy as np
from numpy.typing import NDArray

from service.imaging.labels import Region, RegionMasks

Mask = NDArray[np.bool_]  # (X, Y, Z)


def fuse(masks: RegionMasks) -> tuple[dict[Region, Mask], int]:
    """Extend each region by the regions inside it; also return how many voxels that added.

    The outer region yields: an inner network finds small, conspicuous tissue that the outer one may miss. Restricting
    the inner region instead would lose a correct ET wherever the TC network misses the core.
    Inner masks count only in the slices of the outermost region, so that their networks need not run elsewhere.
    """
    inside_out = sorted(masks, key=list(Region).index, reverse=True)
    in_slices = masks[inside_out[-1]].any(axis=(0, 1))  # (Z,)
    fused: dict[Region, Mask] = {}
    inner, added = np.zeros_like(in_slices), 0
    for region in inside_out:
        own = masks[region] & in_slices
        fused[region] = inner = own | inner
        added += int(np.count_nonzero(inner) - np.count_nonzero(own))
    return fused, added


def slices_with(mask: Mask) -> NDArray[np.intp]:
    """Indices of the axial slices that a mask reaches."""
    return np.flatnonzero(mask.any(axis=(0, 1)))
