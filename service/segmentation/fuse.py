"""Fusion of the three regions' masks into nested ones."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from service.segmentation.labels import Region, RegionMasks


def nest(masks: RegionMasks) -> tuple[dict[Region, NDArray[np.bool_]], int]:
    """The masks with ET kept within TC and TC within WT, and the number of voxels that this changed.

    An inner region gives way to the outer one: the network of the outer region sees the easier task and errs less.
    """
    whole = masks[Region.WT]
    core = masks[Region.TC] & whole
    enhancing = masks[Region.ET] & core
    changed = (core != masks[Region.TC]) | (enhancing != masks[Region.ET])
    return {Region.WT: whole, Region.TC: core, Region.ET: enhancing}, int(changed.sum())


def drop_small(masks: RegionMasks, smallest_ml: Mapping[str, float], voxel_ml: float) -> RegionMasks:
    """The masks, less those of regions that have a smallest volume and do not reach it.

    A few voxels of enhancing tumour are more often a vessel in a patient without any.
    """
    return {region: mask & (mask.sum() * voxel_ml >= smallest_ml.get(region, 0.0)) for region, mask in masks.items()}
