from math import log

import numpy as np
import pytest

from service.networks.model_card import QualityFit
from service.segmentation.quality import estimate_quality, self_dice


def row(*values: float) -> np.ndarray:
    """A probability map, in 1/255, with these probabilities along the slice axis."""
    return np.array([[np.round(255 * np.array(values))]], dtype=np.uint8)


def mask(*voxels: int) -> np.ndarray:
    """A mask with these voxels along the slice axis."""
    return np.array([[voxels]], dtype=bool)


def fit(intercept: float = 0, slope: float = 1, low: float = -1, high: float = 1) -> QualityFit:
    """A fit with these coefficients and residuals."""
    return QualityFit(intercept, slope, low, high, volume_ml=(1, 100), cases=50)


def test_self_dice_is_the_dice_that_the_probabilities_imply():
    # 2 x (1 + 0.8) / (2 voxels + 1 + 0.8 + 0.4 + 0.2)
    assert self_dice(row(1, 0.8, 0.4, 0.2, 0), mask(1, 1, 0, 0, 0)) == pytest.approx(3.6 / 4.4)


def test_the_self_dice_of_an_empty_mask_is_zero():
    assert self_dice(row(0.4, 0.2, 0), mask(0, 0, 0)) == 0
    assert self_dice(row(0, 0, 0), mask(0, 0, 0)) == 0


def test_the_self_dice_of_a_certain_mask_is_one():
    certain = np.zeros((100, 100, 2), bool)
    certain[:, :, 0] = True  # 10,000 voxels: more than the sum of their bytes would fit into 16 bits
    assert self_dice(np.where(certain, np.uint8(255), np.uint8(0)), certain) == 1


def test_a_self_dice_is_corrected_on_the_logit_scale():
    # logit(0.9) = ln 9; half of it, less ln 3, is 0.
    quality = estimate_quality(fit(intercept=-log(3), slope=0.5, low=-log(2), high=log(3)), 0.9)
    assert quality.predicted_dice == pytest.approx(1 / 2)
    assert quality.low == pytest.approx(1 / 3)
    assert quality.high == pytest.approx(3 / 4)


@pytest.mark.parametrize("found_self_dice", [0, 0.2, 0.9, 0.9999, 1])
def test_the_predicted_dice_lies_within_its_interval(found_self_dice):
    quality = estimate_quality(fit(intercept=-2, slope=0.6), found_self_dice)
    assert 0 < quality.low < quality.predicted_dice < quality.high < 1


def test_the_predicted_dice_rises_with_the_self_dice():
    predicted = [estimate_quality(fit(-2, 0.6), found).predicted_dice for found in (0, 0.01, 0.3, 0.9, 0.99, 1)]
    assert predicted == sorted(set(predicted))


@pytest.mark.parametrize(("found_self_dice", "expected"), [(0, 0.001), (0.0005, 0.001), (0.9995, 0.999), (1, 0.999)])
def test_a_self_dice_whose_logit_is_infinite_is_replaced_by_the_nearest_finite_one(found_self_dice, expected):
    assert estimate_quality(fit(), found_self_dice).predicted_dice == pytest.approx(expected)
