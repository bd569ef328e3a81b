from dataclasses import replace
from math import log

import numpy as np
import pytest
from scipy.special import expit
from support.known_networks import CPU, known_model, save_model

from model_training.evaluation.evaluate import CaseResult, Evaluation, RegionResult
from model_training.evaluation.quality import (
    Assessment,
    assess_quality,
    fit_quality,
    print_assessment,
    record_quality,
)
from service.imaging.case import Modality
from service.imaging.labels import Region
from service.networks.checkpoints import load_model
from service.networks.model_card import MeasuredDice, QualityFit
from service.segmentation.measure import Scores
from service.segmentation.quality import estimate_quality

POSITIONS = np.linspace(-1, 4, 12)  # logits of the confident fraction
INTERCEPT, SLOPE = -0.5, 0.8


def evaluation_of(confident_fraction, dice, volumes_ml=None) -> Evaluation:
    """An evaluation with one case for each confident fraction and Dice of ET; WT and TC are the same in each case."""
    volumes_ml = np.full(len(dice), 10.0) if volumes_ml is None else volumes_ml
    other = RegionResult(Scores(0.3, 0.3, 1.0, 5.0), 50.0, 50.0, 0.99)
    cases = [
        CaseResult("test", f"{number}", 1.0, {Region.WT: other, Region.TC: other, Region.ET: result(*values)})
        for number, values in enumerate(zip(confident_fraction, dice, volumes_ml, strict=True))
    ]
    return Evaluation("known", "0" * 64, "cpu", "float32", 100.0, cases)


def result(confident_fraction, dice, volume_ml) -> RegionResult:
    return RegionResult(Scores(dice, dice, 1.0, 5.0), volume_ml, 10.0, confident_fraction)


def noise_free() -> Evaluation:
    """Cases whose Dice is exactly as the intercept and slope predict it."""
    return evaluation_of(expit(POSITIONS), expit(INTERCEPT + SLOPE * POSITIONS))


def noisy(count: int) -> Evaluation:
    """Cases whose mean Dice is as the intercept and slope predict it."""
    random = np.random.default_rng(0)
    positions = random.uniform(-1, 6, count)
    mean = expit(INTERCEPT + SLOPE * positions)
    return evaluation_of(expit(positions), random.beta(20 * mean, 20 * (1 - mean)))


def test_a_noise_free_regression_is_recovered():
    fit = fit_quality(noise_free(), Region.ET)
    assert (fit.intercept, fit.slope) == pytest.approx((INTERCEPT, SLOPE), abs=1e-3)
    assert (fit.low_residual, fit.high_residual) == pytest.approx((0, 0), abs=1e-3)


def test_a_noisy_regression_is_recovered_approximately():
    fit = fit_quality(noisy(1000), Region.ET)
    assert (fit.intercept, fit.slope) == pytest.approx((INTERCEPT, SLOPE), abs=0.1)
    assert fit.low_residual < -0.3
    assert fit.high_residual > 0.3


def test_the_mean_prediction_is_the_mean_dice():
    evaluation = noisy(50)
    fit = fit_quality(evaluation, Region.ET)
    results = [case.regions[Region.ET] for case in evaluation.cases]
    predicted = [estimate_quality(fit, result.confident_fraction).predicted_dice for result in results]
    assert np.mean(predicted) == pytest.approx(np.mean([result.scores.dice for result in results]), abs=1e-5)


def test_the_interval_is_between_the_percentiles_of_the_residuals():
    # The logit of a confident fraction of 0.5 is 0, so that every prediction is the mean Dice, 0.5.
    fit = fit_quality(evaluation_of([0.5] * 21, [0.1] * 2 + [0.2] + [0.5] * 15 + [0.8] + [0.9] * 2), Region.ET)
    assert fit.intercept == pytest.approx(0, abs=1e-4)
    # Of 21 values in order, the third one is the 10th percentile: logit(0.2) = -ln 4.
    assert (fit.low_residual, fit.high_residual) == pytest.approx((-log(4), log(4)), abs=1e-4)


def test_a_dice_of_zero_or_one_has_a_finite_residual():
    fit = fit_quality(evaluation_of([0.5] * 10, [0.0] * 5 + [1.0] * 5), Region.ET)
    assert (fit.low_residual, fit.high_residual) == pytest.approx((-log(99), log(99)), abs=1e-4)


def test_a_fit_records_its_number_of_cases_and_the_range_of_their_volumes():
    volumes_ml = [7.0, 0.4, 31.0] + [5.0] * 9
    evaluation = evaluation_of(expit(POSITIONS), expit(POSITIONS), volumes_ml)
    fit = fit_quality(evaluation, Region.ET)
    assert fit.volume_ml == (0.4, 31.0)
    assert fit.cases == 12


def test_cases_in_which_the_region_was_not_found_are_left_out():
    confident_fraction, dice = expit(POSITIONS).tolist(), expit(INTERCEPT + SLOPE * POSITIONS).tolist()
    with_absent = evaluation_of([*confident_fraction, 0, 0], [*dice, 0, 1], [10.0] * 12 + [0.0] * 2)
    assert fit_quality(with_absent, Region.ET) == fit_quality(noise_free(), Region.ET)
    assert len(assess_quality(with_absent, Region.ET).true) == 12


def test_fewer_than_ten_cases_with_the_region_are_too_few():
    evaluation = evaluation_of([0.9] * 11, [0.8] * 11, [10.0] * 9 + [0.0] * 2)
    with pytest.raises(ValueError, match="expected at least 10 cases with ET, found 9"):
        fit_quality(evaluation, Region.ET)
    with pytest.raises(ValueError, match="expected at least 10 cases with ET"):
        assess_quality(evaluation, Region.ET)


def test_noise_free_cases_are_predicted_perfectly():
    assessment = assess_quality(noise_free(), Region.ET)
    dice = expit(INTERCEPT + SLOPE * POSITIONS)
    assert assessment.rank_correlation == pytest.approx(1)
    assert assessment.area_under_curve == 1  # the Dice of eight cases is below 0.8
    assert assessment.true.tolist() == dice.tolist()
    assert assessment.predicted == pytest.approx(dice, abs=1e-3)
    expected = [dice[:4].mean(), dice[4:8].mean(), dice[8:].mean()]
    assert [predicted for predicted, _ in assessment.terciles] == pytest.approx(expected, abs=1e-3)
    assert [true for _, true in assessment.terciles] == pytest.approx(expected)


@pytest.mark.filterwarnings("ignore:An input array is constant")
def test_each_case_is_predicted_by_a_fit_to_all_others():
    dice = np.array([0.2] * 2 + [0.5] * 16 + [0.8] * 2)
    assessment = assess_quality(evaluation_of([0.5] * 20, dice), Region.ET)
    assert assessment.predicted == pytest.approx((10 - dice) / 19, abs=1e-4)  # the mean of the 19 others
    assert np.isnan(assessment.rank_correlation)  # nothing to rank by: the fits differ only because of what they lack
    assert assessment.coverage == 0.8  # those of 0.5


def test_a_low_case_that_is_ranked_above_another_one_reduces_the_area_under_the_curve():
    # Ordered by confident fraction, the low cases are those at 0 to 4 and 6: of 36 pairs, one is in the wrong order.
    dice = [0.2, 0.25, 0.3, 0.4, 0.5, 0.81, 0.79, 0.85, 0.88, 0.9, 0.92, 0.95]
    assert assess_quality(evaluation_of(expit(POSITIONS), dice), Region.ET).area_under_curve == pytest.approx(35 / 36)


@pytest.mark.parametrize(("lowest", "highest"), [(0.8, 0.95), (0.3, 0.79)], ids=["none is low", "all are low"])
def test_the_area_under_the_curve_is_undefined_for_cases_of_one_kind(lowest, highest):
    evaluation = evaluation_of(expit(POSITIONS), np.linspace(lowest, highest, 12))
    assert np.isnan(assess_quality(evaluation, Region.ET).area_under_curve)


def test_an_assessment_is_printed_as_one_line(capsys):
    terciles = [(0.41, 0.4), (0.7, 0.72), (0.9, 0.91)]
    print_assessment(Region.TC, Assessment(np.zeros(37), np.zeros(37), 0.654, terciles, 0.875, 0.811))
    assert capsys.readouterr().out == (
        "TC: 37 cases, rank correlation 0.65, terciles (predicted/true) 0.410/0.400, 0.700/0.720, 0.900/0.910, "
        "AUC for Dice < 0.8 0.88, within the interval 81%\n"
    )


def test_fits_are_recorded_on_the_model_cards_and_the_weights_do_not_change(phantom, tmp_path):
    folder = save_model(tmp_path, known_model(phantom))
    before = load_model(folder, CPU)
    fits = {region: QualityFit(-1.5, 0.8, -0.7, 0.6, (number, 99.5), 37) for number, region in enumerate(Region)}
    incomplete = replace(evaluation_of(expit(POSITIONS), np.linspace(0.4, 0.8, 12)), missing=("T1", "T2"))
    record_quality(folder, before, fits, [incomplete])
    after = load_model(folder, CPU)
    assert before.quality == {}
    assert after.quality == fits
    assert all(isinstance(fit, QualityFit) for fit in after.quality.values())
    assert after.dice_without([Modality.T1]) == {}
    measured = after.dice_without([Modality.T1, Modality.T2])
    assert list(measured) == list(Region)
    assert measured[Region.ET] == MeasuredDice(*(pytest.approx(dice) for dice in (0.6, 0.44, 0.76)), cases=12)
    assert [list(c.card.quality) for c in after.checkpoints] == [["WT"], ["TC"], ["ET"]]
    assert [c.card.sha256 for c in after.checkpoints] == [c.card.sha256 for c in before.checkpoints]
    assert after.sha256 == before.sha256
