"""Scores of a model on cases with ground truth, by the pipeline that serves, not a copy of it."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from model_training.prepare import read_folder
from service.segmentation.labels import Region
from service.segmentation.measure import Agreement
from service.segmentation.pipeline import segment
from service.segmentation.weights import Checkpoint, Model, save_checkpoint

CaseScores = Mapping[str, Mapping[Region, Agreement]]  # by case name


def evaluate(model: Model, data: Path, names: list[str], subset: str) -> CaseScores:
    """The agreement of each case of a subset with its ground truth. Raises InputError; ValueError without truth."""
    scores = {}
    for name in tqdm(names, desc=subset, unit="case"):
        agreement = segment(read_folder(data / name), model).agreement
        if agreement is None:
            raise ValueError(f"{name}: expected ground truth to score against, found none")
        scores[name] = agreement
    return scores


def mean_dice(cases: CaseScores) -> dict[str, Any]:
    """The mean Dice of each region, and how many cases it is the mean of."""
    dice = {region: float(np.mean([case[region].dice for case in cases.values()])) for region in Region}
    return {"cases": len(cases)} | {f"dice_{region}": round(value, 4) for region, value in dice.items()}


def record_scores(folder: Path, model: Model, scores: Mapping[str, Any]) -> None:
    """Write scores into the cards of a model's folder; the weights stay as they are."""
    for checkpoint in model.checkpoints:
        save_checkpoint(folder, Checkpoint(checkpoint.network, replace(checkpoint.card, scores=scores)))


def print_table(scores: Mapping[str, CaseScores]) -> None:
    """Print Dice and HD95 of every case, the mean of each subset, and the mean of all."""
    print(f"{'':32}" + "".join(f"{f'Dice {region}':>10}" for region in Region), end="")
    print("".join(f"{f'HD95 {region}':>10}" for region in Region) + "   (mm)")
    for subset, cases in scores.items():
        for name, case in cases.items():
            _print_row(f"{subset:11}{name}", [case])
        _print_row(f"{subset:11}mean of {len(cases)}", list(cases.values()))
    everything = [case for cases in scores.values() for case in cases.values()]
    _print_row(f"{'all':11}mean of {len(everything)}", everything)


def _print_row(title: str, cases: list[Mapping[Region, Agreement]]) -> None:
    dice = (np.mean([case[region].dice for case in cases]) for region in Region)
    hd95_mm = (np.mean([case[region].hd95_mm for case in cases]) for region in Region)
    print(f"{title:32}" + "".join(f"{value:10.3f}" for value in dice) + "".join(f"{value:10.1f}" for value in hd95_mm))
