"""Volumes, and agreement with a ground truth, by the rules of BraTS."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from service.segmentation.geometry import bounding_box

HD95_ONE_EMPTY_MM = 374.0  # BraTS: about the diagonal of its 240 x 240 x 155 mm volume


@dataclass(frozen=True)
class Agreement:
    """How a predicted mask agrees with the true one."""

    dice: float
    sensitivity: float
    specificity: float
    hd95_mm: float


def agreement(predicted: NDArray[np.bool_], truth: NDArray[np.bool_], spacing_mm: tuple[float, ...]) -> Agreement:
    """Dice, sensitivity, specificity and HD95 of one region of one subject.

    The rules of BraTS for empty masks: both empty, Dice and sensitivity are 1 and HD95 is 0 mm; one empty, Dice and
    sensitivity are 0 and HD95 is 374 mm. Specificity is 1 where the truth leaves no background.
    """
    return Agreement(
        dice=dice(predicted, truth),
        sensitivity=_share(predicted & truth, truth) if truth.any() else float(not predicted.any()),
        specificity=_share(~predicted & ~truth, ~truth) if not truth.all() else 1.0,
        hd95_mm=hd95_mm(predicted, truth, spacing_mm),
    )


def dice(predicted: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Equation (3): 2 TP / (2 TP + FP + FN), counted over all slices of a subject; 1 where both masks are empty."""
    both_sizes = int(predicted.sum()) + int(truth.sum())  # 2 TP + FP + FN
    return 2 * int((predicted & truth).sum()) / both_sizes if both_sizes else 1.0


def hd95_mm(predicted: NDArray[np.bool_], truth: NDArray[np.bool_], spacing_mm: tuple[float, ...]) -> float:
    """The larger of the two directed 95th percentiles of the distance from one mask's surface to the other's.

    Surface voxels are those with a face neighbour outside the mask. Libraries differ here: pooling both directions
    before the percentile gives smaller values.
    """
    if not predicted.any() and not truth.any():
        return 0.0
    if not predicted.any() or not truth.any():
        return HD95_ONE_EMPTY_MM
    box = bounding_box(predicted | truth)  # distances between the masks do not look beyond it
    a, b = _surface(predicted[box]), _surface(truth[box])
    return max(_directed_mm(a, b, spacing_mm), _directed_mm(b, a, spacing_mm))


def _share(part: NDArray[np.bool_], whole: NDArray[np.bool_]) -> float:
    return int(part.sum()) / int(whole.sum())


def _surface(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return mask & ~ndimage.binary_erosion(mask)


def _directed_mm(source: NDArray[np.bool_], target: NDArray[np.bool_], spacing_mm: tuple[float, ...]) -> float:
    distances_mm = ndimage.distance_transform_edt(~target, sampling=spacing_mm)
    return float(np.percentile(distances_mm[source], 95))
