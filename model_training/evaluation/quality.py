"""Fit and assessment of the quality estimate, on cases that the networks were not trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import logit
from scipy.stats import mannwhitneyu, spearmanr

from model_training.evaluation.evaluate import Evaluation, RegionResult
from service.imaging.labels import Region
from service.networks.model import Model
from service.networks.model_card import MeasuredDice, QualityFit, missing_key, save_card
from service.segmentation.quality import SMALLEST, estimate_quality

MIN_CASES = 10
PERCENTILES = (10, 90)
LOW_DICE = 0.8  # the assessment asks how well the estimate finds regions below this Dice
FURTHEST = 0.01  # a Dice is kept this far from 0 and 1, where its logit is infinite


@dataclass(frozen=True)
class Assessment:
    """How well the estimate predicts the Dice of a region; each case is predicted by a fit to all others.

    Ranks need no fit: the estimate rises with the confident fraction, so that every fit ranks the cases alike.
    """

    predicted: NDArray[np.float64]  # (N,)
    true: NDArray[np.float64]  # (N,) Dice
    rank_correlation: float  # Spearman's rho
    terciles: list[tuple[float, float]]  # mean predicted and mean true Dice, from the lowest predictions upwards
    area_under_curve: float  # for finding a Dice below LOW_DICE; NaN if all or none are
    coverage: float  # share of the cases within their interval; 0.8 expected


def fit_quality(evaluation: Evaluation, region: Region) -> QualityFit:
    """Fit the estimate of a region on the cases in which it was found. Raises ValueError for fewer than MIN_CASES."""
    _, results = _found(evaluation, region)
    return _fit(results)


def assess_quality(evaluation: Evaluation, region: Region) -> Assessment:
    """Predict each case by a fit to all others, and compare with the true Dice. Raises like `fit_quality`."""
    names, results = _found(evaluation, region)
    estimates = []
    for name, result in zip(names, results, strict=True):  # a case may occur twice, segmented by different networks
        others = [other for other_name, other in zip(names, results, strict=True) if other_name != name]
        estimates.append(estimate_quality(_fit(others), result.confident_fraction))
    predicted = np.array([estimate.predicted_dice for estimate in estimates])
    fractions = np.array([result.confident_fraction for result in results])
    true = np.array([result.scores.dice for result in results])
    is_within = [e.low <= dice <= e.high for e, dice in zip(estimates, true, strict=True)]
    thirds = np.array_split(np.argsort(predicted), 3)
    return Assessment(
        predicted,
        true,
        rank_correlation=float(spearmanr(fractions, true).statistic),
        terciles=[(float(predicted[third].mean()), float(true[third].mean())) for third in thirds],
        area_under_curve=_area_under_curve(fractions, is_low=true < LOW_DICE),
        coverage=float(np.mean(is_within)),
    )


def record_quality(
    folder: Path, model: Model, fits: Mapping[Region, QualityFit], incomplete: Sequence[Evaluation]
) -> None:
    """Write the fits, and the Dice in evaluations without all modalities, to the model cards in a model's folder."""
    for checkpoint in model.checkpoints:
        regions = checkpoint.card.regions
        quality = {str(region): fits[region] for region in regions}
        dice_without = {
            str(region): {
                missing_key(evaluation.missing): measure_dice(evaluation, region) for evaluation in incomplete
            }
            for region in regions
        }
        save_card(folder, replace(checkpoint.card, quality=quality, dice_without=dice_without))


def measure_dice(evaluation: Evaluation, region: Region) -> MeasuredDice:
    """The Dice of a region over the cases of an evaluation."""
    dice = [case.regions[region].scores.dice for case in evaluation.cases]
    low, high = np.percentile(dice, PERCENTILES).tolist()
    return MeasuredDice(float(np.mean(dice)), low, high, len(dice))


def print_assessment(region: Region, assessment: Assessment) -> None:
    """Print one line on a region."""
    terciles = ", ".join(f"{predicted:.3f}/{true:.3f}" for predicted, true in assessment.terciles)
    print(
        f"{region}: {len(assessment.true)} cases, rank correlation {assessment.rank_correlation:.2f}, "
        f"terciles (predicted/true) {terciles}, AUC for Dice < {LOW_DICE} {assessment.area_under_curve:.2f}, "
        f"within the interval {assessment.coverage:.0%}"
    )


def _found(evaluation: Evaluation, region: Region) -> tuple[list[str], list[RegionResult]]:
    """Names and results of the cases in which the region was found."""
    found = [(case.name, case.regions[region]) for case in evaluation.cases if case.regions[region].volume_ml > 0]
    if len(found) < MIN_CASES:
        raise ValueError(f"quality: expected at least {MIN_CASES} cases with {region}, found {len(found)}")
    return [name for name, _ in found], [result for _, result in found]


def _fit(results: list[RegionResult]) -> QualityFit:
    """Logistic regression of the Dice on the logit of the confident fraction, by maximum likelihood.

    Its mean prediction over the cases equals their mean Dice, so that it neither flatters nor scares.
    """
    position = logit(np.clip([result.confident_fraction for result in results], SMALLEST, 1 - SMALLEST))
    dice = np.array([result.scores.dice for result in results])

    def negative_log_likelihood(parameters: NDArray[np.float64]) -> float:
        intercept, slope = parameters
        predicted = intercept + slope * position
        return float(np.sum(np.logaddexp(0, predicted) - dice * predicted))

    intercept, slope = minimize(negative_log_likelihood, np.array([0.0, 1.0])).x.tolist()
    residuals = logit(np.clip(dice, FURTHEST, 1 - FURTHEST)) - (intercept + slope * position)
    low, high = np.percentile(residuals, PERCENTILES).tolist()
    volumes_ml = [result.volume_ml for result in results]
    return QualityFit(intercept, slope, low, high, (min(volumes_ml), max(volumes_ml)), len(results))


def _area_under_curve(fractions: NDArray[np.float64], is_low: NDArray[np.bool_]) -> float:
    """The probability that a low case has a lower confident fraction than another: the ROC's area."""
    if is_low.all() or not is_low.any():
        return float("nan")
    statistic = mannwhitneyu(fractions[~is_low], fractions[is_low]).statistic
    return float(statistic / (np.count_nonzero(is_low) * np.count_nonzero(~is_low)))
