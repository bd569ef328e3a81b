import numpy as np
import pytest

from model_training.evaluation.compare import bootstrap_interval, print_comparison
from model_training.evaluation.evaluate import CaseResult, Evaluation, RegionResult
from service.imaging.labels import Region
from service.segmentation.measure import Scores


def evaluation_of(**dice: tuple[float, float, float]) -> Evaluation:
    """An evaluation of cases, given by name, with these Dice of WT, TC and ET."""
    cases = [
        CaseResult("test", name, 1.0, {region: result(value) for region, value in zip(Region, values, strict=True)})
        for name, values in dice.items()
    ]
    return Evaluation("known", "0" * 64, "cpu", "float32", 100.0, cases)


def result(dice: float) -> RegionResult:
    return RegionResult(Scores(dice, 0.0, 0.0, 0.0), 10.0, 10.0, 0.9)


BEFORE = evaluation_of(one=(0.875, 0.75, 0.5), two=(0.625, 0.5, 0.25))
AFTER = evaluation_of(one=(0.9375, 0.625, 0.5), two=(0.6875, 0.375, 0.75))
TABLE = [
    "2 cases     before   after    difference (95 % interval)",
    "WT             0.7500   0.8125   +0.0625 (+0.0625 to +0.0625)",  # the same difference in both cases
    "TC             0.6250   0.5000   -0.1250 (-0.1250 to -0.1250)",
    "ET             0.3750   0.6250   +0.2500 (+0.0000 to +0.5000)",
    "mean           0.5833   0.6458   +0.0625 (-0.0208 to +0.1458)",
]


def test_the_interval_of_constant_differences_is_that_constant():
    assert bootstrap_interval(np.full(5, 0.25)) == (0.25, 0.25)


def test_the_interval_is_between_the_percentiles_of_the_resampled_means():
    # The mean of a sample of ten is a tenth of a binomial number of ones: 0 with a probability of 0.107, and at most
    # 0.4 with one of 0.967, at most 0.5 with one of 0.994.
    assert bootstrap_interval(np.array([0.0] * 8 + [1.0] * 2)) == (0, 0.5)


def test_the_interval_contains_the_mean_and_is_the_same_on_every_call():
    differences = np.random.default_rng(1).normal(0.01, 0.05, 50)  # hardly two resamples have the same mean
    low, high = bootstrap_interval(differences)
    assert low < differences.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * differences.std() / np.sqrt(50), rel=0.05)  # as for a normal mean
    assert bootstrap_interval(differences) == (low, high)


def test_the_table_has_means_differences_and_intervals_of_each_region_and_of_their_mean(capsys):
    print_comparison(BEFORE, AFTER)
    assert capsys.readouterr().out.splitlines() == TABLE


def test_cases_are_paired_by_name_and_only_those_in_both_evaluations_count(capsys):
    print_comparison(
        evaluation_of(zero=(0.0, 0.0, 0.0), one=(0.875, 0.75, 0.5), two=(0.625, 0.5, 0.25)),
        evaluation_of(two=(0.6875, 0.375, 0.75), three=(1.0, 1.0, 1.0), one=(0.9375, 0.625, 0.5)),
    )
    assert capsys.readouterr().out.splitlines() == TABLE


@pytest.mark.parametrize(("other", "found"), [({"one": (1, 1, 1), "three": (1, 1, 1)}, 1), ({}, 0)])
def test_fewer_than_two_cases_in_common_are_too_few(other, found):
    with pytest.raises(ValueError, match=f"expected at least two cases in common, found {found}"):
        print_comparison(BEFORE, evaluation_of(**other))
