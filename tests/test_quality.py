from math import log

import numpy as np
import pytest

from service.networks.model_card import QualityFit
from service.segmentation.quality import confident_fraction, estimate_quality


def row(*values: float) -> np.ndarray:
    """A probability map, in 1/255, with these probabilities along the slice axis."""
    return np.array([[np.round(255 * np.array(values))]], dtype=np.uint8)


def fit(intercept: float = 0, slope: float = 1, low: float = -1, high: float = 1) -> QualityFit:
    """A fit with these coefficients and residuals."""
    return QualityFit(intercept, slope, low, high, volume_ml=(1, 100), cases=50)


def test_the_confident_fraction_is_that_of_the_voxels_above_one_half():
    assert confident_fraction(row(1, 0.95, 0.91, 0.89, 0.51, 0.49, 0)) == 3 / 5


def test_the_confident_fraction_of_an_empty_region_is_zero():
    assert confident_fraction(row(0.4, 0.2, 0)) == 0


def test_the_confident_fraction_of_large_regions_does_not_overflow():
    assert confident_fraction(np.full((100, 100, 2), 255, np.uint8)) == 1


def test_a_confident_fraction_is_corrected_on_the_logit_scale():
    # logit(0.9) = ln 9; half of it, less ln 3, is 0.
    quality = estimate_quality(fit(intercept=-log(3), slope=0.5, low=-log(2), high=log(3)), 0.9)
    assert quality.predicted_dice == pytest.approx(1 / 2)
    assert quality.low == pytest.approx(1 / 3)
    assert quality.high == pytest.approx(3 / 4)


@pytest.mark.parametrize("fraction", [0, 0.2, 0.9, 0.9999, 1])
def test_the_predicted_dice_lies_within_its_interval(fraction):
    quality = estimate_quality(fit(intercept=-2, slope=0.6), fraction)
    assert 0 < quality.low < quality.predicted_dice < quality.high < 1


def test_the_predicted_dice_rises_with_the_confident_fraction():
    predicted = [estimate_quality(fit(-2, 0.6), found).predicted_dice for found in (0, 0.01, 0.3, 0.9, 0.99, 1)]
    assert predicted == sorted(set(predicted))


@pytest.mark.parametrize(("fraction", "expected"), [(0, 0.001), (0.0005, 0.001), (0.9995, 0.999), (1, 0.999)])
def test_a_confident_fraction_whose_logit_is_infinite_is_replaced_by_the_nearest_finite_one(fraction, expected):
    assert estimate_quality(fit(), fraction).predicted_dice == pytest.approx(expected)
