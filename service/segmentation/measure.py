"""Scores of a predicted mask against the ground truth, by the evaluation rules of BraTS."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree

from service.imaging.geometry import bounding_box
from service.imaging.labels import BACKGROUND, Region, region_masks

HD95_ONE_EMPTY_MM = 374.0  # BraTS: about the diagonal of its 240 x 240 x 155 mm volume


@dataclass(frozen=True)
class Scores:
    """How well a predicted mask matches the ground truth."""

    dice: float
    sensitivity: float
    specificity: float
    hd95_mm: float


def score_regions(
    predicted: NDArray[np.generic], truth: NDArray[np.generic], spacing_mm: tuple[float, ...]
) -> dict[Region, Scores]:
    """Scores of each region of two label maps (X, Y, Z) on one grid."""
    tumour = (predicted != BACKGROUND) | (truth != BACKGROUND)
    box = bounding_box(tumour) if tumour.any() else ...
    predicted_masks, true_masks = region_masks(predicted[box]), region_masks(truth[box])
    with ThreadPoolExecutor() as threads:
        scores = threads.map(
            lambda region: score_region(predicted_masks[region], true_masks[region], spacing_mm, truth.size), Region
        )
        return dict(zip(Region, scores, strict=True))


def score_region(
    predicted: NDArray[np.bool_], truth: NDArray[np.bool_], spacing_mm: tuple[float, ...], voxels: int | None = None
) -> Scores:
    """Dice, sensitivity, specificity and HD95 of one region of one subject.

    `voxels` is the size of the whole image if the masks are a crop of it.
    Empty masks, by the rules of BraTS: if both are empty, Dice and sensitivity are 1 and HD95 is 0 mm; if one is, Dice
    and sensitivity are 0 and HD95 is 374 mm. Specificity is 1 if the ground truth fills the whole image.
    """
    voxels = voxels or truth.size
    either = predicted | truth
    if either.any():
        box = bounding_box(either)  # both masks are empty outside
        predicted, truth = predicted[box], truth[box]
    positives, predicted_positives = _count(truth), _count(predicted)
    true_positives = _count(predicted & truth)
    negatives, false_positives = voxels - positives, predicted_positives - true_positives
    return Scores(
        dice=dice(predicted, truth),
        sensitivity=true_positives / positives if positives else float(predicted_positives == 0),
        specificity=1 - false_positives / negatives if negatives else 1.0,
        hd95_mm=hd95_mm(predicted, truth, spacing_mm),
    )


def dice(predicted: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Dice by the paper's equation (3): 2 TP / (2 TP + FP + FN) over all slices of a case; 1 if both are empty."""
    sum_of_sizes = _count(predicted) + _count(truth)  # 2 TP + FP + FN
    return 2 * _count(predicted & truth) / sum_of_sizes if sum_of_sizes else 1.0


def hd95_mm(predicted: NDArray[np.bool_], truth: NDArray[np.bool_], spacing_mm: tuple[float, ...]) -> float:
    """The larger of the two directed 95th percentiles of the distance from one mask's surface to the other's.

    Surface voxels are those with a face neighbour outside the mask. Definitions differ between libraries: pooling both
    directions before taking the percentile gives smaller values.
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
    """Positions (N, 3) of a mask's surface voxels."""
    positions_mm: NDArray[np.float64] = np.argwhere(mask & ~ndimage.binary_erosion(mask)) * np.array(spacing_mm)
    return positions_mm


def _directed_mm(source_mm: NDArray[np.float64], target_mm: NDArray[np.float64]) -> float:
    distances_mm, _ = KDTree(target_mm).query(source_mm)
    return float(np.percentile(distances_mm, 95))
