"""How trained networks are best used, decided on the validation cases and written into their cards."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from model_training.evaluate import CaseScore, Evaluation, evaluate, mean_score
from model_training.split import Split
from service.segmentation.card import save_card
from service.segmentation.labels import Region
from service.segmentation.model import Checkpoint, Model

WORTH_MIRRORING = 0.005  # of mean Dice: mirroring doubles the time of every request
CANDIDATES_ML = (0.0, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)


def choose(folder: Path, model: Model, data: Path, split: Split) -> None:
    """Decide whether slices are seen mirrored too, and below which volume a region is absent; write it into the cards.

    Each decision takes the higher mean Dice over the validation cases: mirrored if it brings WORTH_MIRRORING, and of
    equal volumes the smallest. Prints what was weighed. Raises ValueError where there are no validation cases.
    """
    if not split["validation"]:
        raise ValueError("split: expected validation cases to choose on, found none")
    only_validation = dict(split) | {"test": []}
    evaluations = {
        mirrored: evaluate(_used(model, mirrored=mirrored, smallest_ml={}), data, only_validation)
        for mirrored in (False, True)
    }
    for mirrored, evaluation in evaluations.items():
        print(f"mirrored {mirrored!s:5}: mean Dice {_mean_dice(evaluation):.4f}")
    mirrored = _mean_dice(evaluations[True]) - _mean_dice(evaluations[False]) >= WORTH_MIRRORING
    smallest_ml = {region: choose_smallest_ml(evaluations[mirrored].cases, region) for region in Region}
    for checkpoint in _used(model, mirrored=mirrored, smallest_ml=smallest_ml).checkpoints:
        save_card(folder, checkpoint.card)


def choose_smallest_ml(cases: list[CaseScore], region: Region) -> float:
    """The candidate with the highest mean Dice if what is smaller were called absent; the smallest of equals."""
    means = [float(np.mean([_dice_if_dropped(case, region, below) for case in cases])) for below in CANDIDATES_ML]
    for candidate, mean in zip(CANDIDATES_ML, means, strict=True):
        print(f"{region} absent below {candidate:4} ml: mean Dice {mean:.4f}")
    return CANDIDATES_ML[int(np.argmax(means))]


def _dice_if_dropped(case: CaseScore, region: Region, below_ml: float) -> float:
    score = case.regions[region]
    if score.volume_ml >= below_ml:
        return score.agreement.dice
    return float(score.true_volume_ml == 0)


def _used(model: Model, *, mirrored: bool, smallest_ml: Mapping[Region, float]) -> Model:
    """The same networks, used so."""
    checkpoints = (
        Checkpoint(
            checkpoint.network,
            replace(
                checkpoint.card,
                mirrored=mirrored,
                smallest_ml={
                    str(region): smallest_ml[region]
                    for region in checkpoint.card.regions
                    if smallest_ml.get(region, 0) > 0
                },
            ),
        )
        for checkpoint in model.checkpoints
    )
    return replace(model, checkpoints=tuple(checkpoints))


def _mean_dice(evaluation: Evaluation) -> float:
    return float(np.mean([mean_score(evaluation.cases, region, "dice") for region in Region]))
