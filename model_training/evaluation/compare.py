"""Paired comparison of two evaluations: the difference in Dice, with a bootstrap interval over cases."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap

from model_training.evaluation.evaluate import Evaluation
from service.imaging.labels import Region

RESAMPLES = 10_000
SEED = 0


def print_comparison(before: Evaluation, after: Evaluation) -> None:
    """Print the mean Dice of each region in both, and the mean difference with its 95 % bootstrap interval.

    Only the cases in both count. Raises ValueError if there are fewer than two.
    """
    dice_before, dice_after = _dice(before), _dice(after)
    names = sorted(dice_before.keys() & dice_after.keys())
    if len(names) < 2:
        raise ValueError(f"evaluations: expected at least two cases in common, found {len(names)}")
    a, b = (np.array([dice[name] for name in names]) for dice in (dice_before, dice_after))  # (cases, 3)
    print(f"{len(names)} cases     before   after    difference (95 % interval)")
    for title, x, y in [*zip(Region, a.T, b.T, strict=True), ("mean", a.mean(axis=1), b.mean(axis=1))]:
        low, high = bootstrap_interval(y - x)
        print(f"{title:12}{x.mean():9.4f}{y.mean():9.4f}   {(y - x).mean():+.4f} ({low:+.4f} to {high:+.4f})")


def bootstrap_interval(differences: NDArray[np.float64]) -> tuple[float, float]:
    """The 95 % percentile interval of the mean of differences (N,), by resampling cases."""
    result = bootstrap((differences,), np.mean, n_resamples=RESAMPLES, method="percentile", rng=SEED)
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def _dice(evaluation: Evaluation) -> Mapping[str, list[float]]:
    return {case.name: [case.regions[region].scores.dice for region in Region] for case in evaluation.cases}
