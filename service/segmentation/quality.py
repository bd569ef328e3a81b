"""Quality estimate of a segmentation without a ground truth: the Dice that each region is likely to reach."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from service.imaging.case import Modality
from service.imaging.labels import Region
from service.networks.model import Model
from service.networks.model_card import QualityFit

SMALLEST = 0.001  # self-Dice is kept this far from 0 and 1, where its logit is infinite


@dataclass(frozen=True)
class Quality:
    """The predicted Dice of a region, and the interval that contains the true one in most cases."""

    predicted_dice: float
    low: float  # 10th percentile
    high: float  # 90th percentile


def self_dice(probability: NDArray[np.uint8], mask: NDArray[np.bool_]) -> float:
    """The Dice of a mask that is expected if the network's probabilities (in 1/255) are right; 0 for an empty mask.

    2 x (sum of the probabilities in the mask) / (voxels of the mask + sum of all probabilities). Networks are
    overconfident, so it is far too high; but it ranks cases as the true Dice does.
    """
    everywhere = int(probability.sum(dtype=np.int64)) / 255
    within = int(probability.sum(where=mask, dtype=np.int64)) / 255
    size = int(np.count_nonzero(mask)) + everywhere
    return 2 * within / size if size else 0.0


def estimate_qualities(
    model: Model, missing: Collection[Modality], self_dices: Mapping[Region, float], found: Collection[Region]
) -> dict[Region, Quality]:
    """The quality of the regions found, as far as the model cards say.

    If modalities are missing, it is the Dice measured without them: the regression was fitted with all modalities.
    """
    if missing:
        measured = model.dice_without(missing)
        return {region: Quality(dice.mean, dice.low, dice.high) for region, dice in measured.items() if region in found}
    return {
        region: estimate_quality(fit, self_dices[region]) for region, fit in model.quality.items() if region in found
    }


def estimate_quality(fit: QualityFit, found_self_dice: float) -> Quality:
    """Correct a self-Dice by a regression that was fitted on cases with ground truth (`model_training quality`)."""
    position = fit.intercept + fit.slope * logit(np.clip(found_self_dice, SMALLEST, 1 - SMALLEST))
    predicted, low, high = expit(position + np.array([0.0, fit.low_residual, fit.high_residual])).tolist()
    return Quality(predicted, low, high)
