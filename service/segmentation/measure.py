"""Volumes, and agreement with a ground truth, by the rules of BraTS."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree

from service.segmentation.geometry import bounding_box
from service.segmentation.labels import BACKGROUND, Region, region_masks

HD95_ONE_EMPTY_MM = 374.0  # BraTS: about the diagonal of its 240 x 240 x 155 mm volume


@dataclass(frozen=True)
class Agreement:
    """How a predicted mask agrees with the true one."""

    dice: float
    sensitivity: float
    specificity: float
    hd95_mm: float


def agreements(
    predicted: NDArray[np.generic], truth: NDArray[np.generic], spacing_mm: tuple[float, ...]
) -> dict[Region, Agreement]:
    """The agreement of each region of two label maps (X, Y, Z) on one grid."""
    tumour = (predicted != BACKGROUND) | (truth != BACKGROUND)
    box = bounding_box(tumour) if tumour.any() else ...
    found, true = region_masks(predicted[box]), region_masks(truth[box])
    with ThreadPoolExecutor() as threads:
        scores = threads.map(lambda region: agreement(found[region], true[region], spacing_mm, truth.size), Region)
        return dict(zip(Region, scores, strict=True))


def agreement(
    predicted: NDArray[np.bool_], truth: NDArray[np.bool_], spacing_mm: tuple[float, ...], voxels: int | None = None
) -> Agreement:
    """Dice, sensitivity, specificity and HD95 of one region of one subject.

    `voxels` is the size of the image that the masks are a part of, if they are not the whole.
    The rules of BraTS for empty masks: both empty, Dice and sensitivity are 1 and HD95 is 0 mm; one empty, Dice and
    sensitivity are 0 and HD95 is 374 mm. Specificity is 1 where the truth leaves no background.
    """
    voxels = voxels or truth.size
    either = predicted | truth
    if either.any():
        box = bounding_box(either)  # nothing to count lies beyond it
        predicted, truth = predicted[box], truth[box]
    positive, found = _count(truth), _count(predicted)
    hit = _count(predicted & truth)
    negative, false_alarms = voxels - positive, found - hit
    return Agreement(
        dice=dice(predicted, truth),
        sensitivity=hit / positive if positive else float(found == 0),
        specificity=1 - false_alarms / negative if negative else 1.0,
        hd95_mm=hd95_mm(predicted, truth, spacing_mm),
    )


def dice(predicted: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Equation (3): 2 TP / (2 TP + FP + FN), counted over all slices of a subject; 1 where both masks are empty."""
    both_sizes = _count(predicted) + _count(truth)  # 2 TP + FP + FN
    return 2 * _count(predicted & truth) / both_sizes if both_sizes else 1.0


def hd95_mm(predicted: NDArray[np.bool_], truth: NDArray[np.bool_], spacing_mm: tuple[float, ...]) -> float:
    """The larger of the two directed 95th percentiles of the distance from one mask's surface to the other's.

    Surface voxels are those with a face neighbour outside the mask. Libraries differ here: pooling both directions
    before the percentile gives smaller values.
    """
    if not predicted.any() and not truth.any():
        return 0.0
    if not predicted.any() or not truth.any():
        return HD95_ONE_EMPTY_MM
    a, b = _surface_mm(predicted, spacing_mm), _surface_mm(truth, spacing_mm)
    return max(_directed_mm(a, b), _directed_mm(b, a))


def _count(mask: NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(mask))


def _surface_mm(mask: NDArray[np.bool_], spacing_mm: tuple[float, ...]) -> NDArray[np.float64]:
    """The positions (N, 3) of a mask's surface voxels."""
    positions_mm: NDArray[np.float64] = np.argwhere(mask & ~ndimage.binary_erosion(mask)) * np.array(spacing_mm)
    return positions_mm


def _directed_mm(source_mm: NDArray[np.float64], target_mm: NDArray[np.float64]) -> float:
    distances_mm, _ = KDTree(target_mm).query(source_mm)
    return float(np.percentile(distances_mm, 95))
