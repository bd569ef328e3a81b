"""Choice, on the validation cases, of flip test-time augmentation (TTA) and of when a region is absent."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from model_training.data.split import Split
from model_training.evaluation.evaluate import CaseResult, evaluate, mean_score
from service.imaging.labels import Region
from service.networks.model import Checkpoint, Model
from service.networks.model_card import save_card

MIN_FLIP_TTA_GAIN = 0.005  # in mean Dice: flip TTA doubles the time of every request
MIN_CONFIDENT_FRACTION_CANDIDATES = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9)


def choose(folder: Path, model: Model, data: Path, split: Split) -> None:
    """Choose flip TTA and the minimum confident fraction of each region; write them to the model cards in the folder.

    Both maximise the mean Dice over the validation cases. Flip TTA is used only if it gains MIN_FLIP_TTA_GAIN; of
    minimum values with equal Dice the smallest is used. Prints the mean Dice of every candidate. Raises ValueError if
    there are no validation cases.
    """
    if not split["validation"]:
        raise ValueError("split: expected validation cases, found none")

    only_validation = dict(split) | {"test": []}
    evaluations = {
        flip_tta: evaluate(_with_settings(model, flip_tta=flip_tta, min_confident_fraction={}), data, only_validation)
        for flip_tta in (False, True)
    }
    flip_tta = choose_flip_tta(evaluations[False].cases, evaluations[True].cases)
    cases = evaluations[flip_tta].cases
    minima = {region: choose_min_confident_fraction(cases, region) for region in Region}
    for checkpoint in _with_settings(model, flip_tta=flip_tta, min_confident_fraction=minima).checkpoints:
        save_card(folder, checkpoint.card)


def choose_flip_tta(cases_without: list[CaseResult], cases_with: list[CaseResult]) -> bool:
    """Return whether flip TTA gains enough mean Dice, from the results without and with it."""
    without, with_flips = _mean_dice(cases_without), _mean_dice(cases_with)
    print(f"flip TTA off: mean Dice {without:.4f}")
    print(f"flip TTA on:  mean Dice {with_flips:.4f}")
    return with_flips - without >= MIN_FLIP_TTA_GAIN


def choose_min_confident_fraction(cases: list[CaseResult], region: Region) -> float:
    """Return the minimum with the highest mean Dice, or the smallest such; a region below it is considered absent."""
    means = [
        float(np.mean([_dice_with_minimum(case, region, minimum) for case in cases]))
        for minimum in MIN_CONFIDENT_FRACTION_CANDIDATES
    ]
    for candidate, mean in zip(MIN_CONFIDENT_FRACTION_CANDIDATES, means, strict=True):
        print(f"{region} minimum confident fraction {candidate:4}: mean Dice {mean:.4f}")
    return MIN_CONFIDENT_FRACTION_CANDIDATES[int(np.argmax(means))]


def _dice_with_minimum(case: CaseResult, region: Region, min_confident_fraction: float) -> float:
    result = case.regions[region]
    if result.confident_fraction >= min_confident_fraction:
        return result.scores.dice
    return float(result.true_volume_ml == 0)


def _with_settings(model: Model, *, flip_tta: bool, min_confident_fraction: Mapping[Region, float]) -> Model:
    """Return the same networks with these settings on their model cards."""
    checkpoints = (
        Checkpoint(
            checkpoint.network,
            replace(
                checkpoint.card,
                flip_tta=flip_tta,
                min_confident_fraction={
                    str(region): min_confident_fraction[region]
                    for region in checkpoint.card.regions
                    if min_confident_fraction.get(region, 0) > 0
                },
            ),
        )
        for checkpoint in model.checkpoints
    )
    return replace(model, checkpoints=tuple(checkpoints))


def _mean_dice(cases: list[CaseResult]) -> float:
    return float(np.mean([mean_score(cases, region, "dice") for region in Region]))
