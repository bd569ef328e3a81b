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

HALF, CONFIDENT = 128, 230  # the lowest probabilities in 1/255 that are at least 0.5 and at least 0.9
SMALLEST = 0.001  # a confident fraction is kept this far from 0 and 1, where its logit is infinite


@dataclass(frozen=True)
class Quality:
    """The predicted Dice of a region, and the interval that contains the true one in most cases."""

    predicted_dice: float
    low: float  # 10th percentile
    high: float  # 90th percentile


def confident_fraction(probability: NDArray[np.uint8]) -> float:
    """The fraction of a region in which its network is confident, given its probability map in 1/255; 0 if it is empty.

    The region is where the probability is at least 0.5; the network is confident where it is at least 0.9. Networks are
    overconfident, but this fraction ranks cases much as the true Dice does.
    """
    size = int(np.count_nonzero(probability >= HALF))
    return int(np.count_nonzero(probability >= CONFIDENT)) / size if size else 0.0


def estimate_qualities(
    model: Model, missing: Collection[Modality], fractions: Mapping[Region, float], found: Collection[Region]
) -> dict[Region, Quality]:
    """The quality of the regions found, as far as the model cards say.

    If modalities are missing, it is the Dice measured without them: the regression was fitted with all modalities.
    """
    if missing:
        measured = model.dice_without(missing)
        return {region: Quality(dice.mean, dice.low, dice.high) for region, dice in measured.items() if region in found}
    return {
        region: estimate_quality(fit, fractions[region]) for region, fit in model.quality.items() if region in found
    }


def estimate_quality(fit: QualityFit, fraction: float) -> Quality:
    """Predict the Dice from a confident fraction, by a regression that `model_training quality` fitted."""
    position = fit.intercept + fit.slope * logit(np.clip(fraction, SMALLEST, 1 - SMALLEST))
    predicted, low, high = expit(position + np.array([0.0, fit.low_residual, fit.high_residual])).tolist()
    return Quality(predicted, low, high)
