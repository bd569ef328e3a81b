"""Choice, on the validation cases, of flip test-time augmentation (TTA), thresholds, and when a region is absent."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from model_training.data.split import Split
from model_training.evaluation.evaluate import CaseResult, evaluate, mean_score
from service.imaging.labels import Region
from service.networks.model import Checkpoint, Model
from service.networks.model_card import DEFAULT_THRESHOLD, ModelCard, save_card

MIN_FLIP_TTA_GAIN = 0.005  # in mean Dice: flip TTA doubles the time of every request
LOW_THRESHOLD, MIN_THRESHOLD_GAIN = 0.25, 0.002
MIN_SELF_DICE_CANDIDATES = (0.0, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9)


def choose(folder: Path, model: Model, data: Path, split: Split) -> None:
    """Choose flip TTA, thresholds and minimum self-Dice, and write them to the model cards in the folder.

    Each maximises the mean Dice over the validation cases: first flip TTA, used only if it gains MIN_FLIP_TTA_GAIN;
    then for each region LOW_THRESHOLD, used only if it gains MIN_THRESHOLD_GAIN; then its minimum self-Dice, of equal
    ones the smallest. Prints the mean Dice of every candidate. Raises ValueError if there are no validation cases.
    """
    if not split["validation"]:
        raise ValueError("split: expected validation cases, found none")

    def results(flip_tta: bool, threshold: float) -> list[CaseResult]:
        thresholds = dict.fromkeys(map(str, Region), threshold)
        changed = _with_settings(model, lambda card: _settings(card, flip_tta, thresholds, {}))
        return evaluate(changed, data, dict(split) | {"test": []}).cases

    without, with_flips = results(False, DEFAULT_THRESHOLD), results(True, DEFAULT_THRESHOLD)
    flip_tta = choose_flip_tta(without, with_flips)
    by_threshold = {
        DEFAULT_THRESHOLD: with_flips if flip_tta else without,
        LOW_THRESHOLD: results(flip_tta, LOW_THRESHOLD),
    }
    threshold = {str(region): choose_threshold(by_threshold, region) for region in Region}
    min_self_dice = {str(region): choose_min_self_dice(by_threshold[threshold[region]], region) for region in Region}
    for checkpoint in _with_settings(
        model, lambda card: _settings(card, flip_tta, threshold, min_self_dice)
    ).checkpoints:
        save_card(folder, checkpoint.card)


def choose_flip_tta(cases_without: list[CaseResult], cases_with: list[CaseResult]) -> bool:
    """Return whether flip TTA gains enough mean Dice, from the results without and with it."""
    without, with_flips = _mean_dice(cases_without), _mean_dice(cases_with)
    print(f"flip TTA off: mean Dice {without:.4f}")
    print(f"flip TTA on:  mean Dice {with_flips:.4f}")
    return with_flips - without >= MIN_FLIP_TTA_GAIN


def choose_threshold(cases: Mapping[float, list[CaseResult]], region: Region) -> float:
    """Return LOW_THRESHOLD if it gains enough mean Dice, else DEFAULT_THRESHOLD, from the results with each."""
    means = {threshold: mean_score(results, region, "dice") for threshold, results in cases.items()}
    for threshold, mean in means.items():
        print(f"{region} threshold {threshold:4}: mean Dice {mean:.4f}")
    gains = means[LOW_THRESHOLD] - means[DEFAULT_THRESHOLD] >= MIN_THRESHOLD_GAIN
    return LOW_THRESHOLD if gains else DEFAULT_THRESHOLD


def choose_min_self_dice(cases: list[CaseResult], region: Region) -> float:
    """Return the minimum self-Dice with the highest mean Dice, or the smallest such; a region below it is absent."""
    means = [
        float(np.mean([_dice_with_minimum(case, region, minimum) for case in cases]))
        for minimum in MIN_SELF_DICE_CANDIDATES
    ]
    for candidate, mean in zip(MIN_SELF_DICE_CANDIDATES, means, strict=True):
        print(f"{region} minimum self-Dice {candidate:4}: mean Dice {mean:.4f}")
    return MIN_SELF_DICE_CANDIDATES[int(np.argmax(means))]


def _dice_with_minimum(case: CaseResult, region: Region, min_self_dice: float) -> float:
    result = case.regions[region]
    if result.self_dice >= min_self_dice:
        return result.scores.dice
    return float(result.true_volume_ml == 0)


def _with_settings(model: Model, change: Callable[[ModelCard], ModelCard]) -> Model:
    """Return the same networks with changed model cards."""
    checkpoints = (Checkpoint(checkpoint.network, change(checkpoint.card)) for checkpoint in model.checkpoints)
    return replace(model, checkpoints=tuple(checkpoints))


def _settings(
    card: ModelCard, flip_tta: bool, threshold: Mapping[str, float], min_self_dice: Mapping[str, float]
) -> ModelCard:
    """The card with these settings of its regions, without those that are the default."""
    return replace(
        card,
        flip_tta=flip_tta,
        threshold={r: threshold[r] for r in card.regions if threshold[r] != DEFAULT_THRESHOLD},
        min_self_dice={str(r): min_self_dice[r] for r in card.regions if min_self_dice.get(r, 0) > 0},
    )


def _mean_dice(cases: list[CaseResult]) -> float:
    return float(np.mean([mean_score(cases, region, "dice") for region in Region]))
