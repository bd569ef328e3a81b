"""Scores of a model on cases with ground truth, by the pipeline that serves, not a copy of it."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from tqdm import tqdm

from model_training.memory import peak_memory_mib
from model_training.prepare import find_cases, read_folder
from model_training.split import Split
from service.segmentation.card import save_card
from service.segmentation.case import GROUND_TRUTH, assign_roles
from service.segmentation.errors import InputError
from service.segmentation.labels import Region, region_masks
from service.segmentation.measure import Agreement
from service.segmentation.model import Model
from service.segmentation.network import precision_name
from service.segmentation.pipeline import segment
from service.segmentation.volume import decode_nifti

SCORES = ("dice", "sensitivity", "specificity", "hd95_mm")
SCORED_SUBSETS = ("validation", "test")


@dataclass(frozen=True)
class RegionScore:
    """One region of one subject."""

    agreement: Agreement
    volume_ml: float
    true_volume_ml: float


@dataclass(frozen=True)
class CaseScore:
    """One subject."""

    subset: str
    name: str
    seconds: float  # from the bytes of the files to masks and scores
    regions: Mapping[Region, RegionScore]


@dataclass(frozen=True)
class Evaluation:
    """What a model reached, and what it took."""

    model: str
    sha256: str
    device: str
    precision: str
    peak_memory_mib: float  # resident memory of the evaluating process, or on a GPU what torch allocated there
    cases: list[CaseScore]

    def of(self, subset: str) -> list[CaseScore]:
        """The subjects of a subset."""
        return [case for case in self.cases if case.subset == subset]


def evaluate(model: Model, data: Path, split: Split) -> Evaluation:
    """Score every validation and test case of a split. Raises ValueError that names a case that cannot be scored."""
    folders = find_cases(data)
    cases = [
        _score(model, folders.get(name, data / name), subset)
        for subset in SCORED_SUBSETS
        for name in tqdm(split[subset], desc=subset, unit="case")
    ]
    return Evaluation(
        model.name,
        model.sha256,
        str(model.device),
        precision_name(model.precision),
        peak_memory_mib(model.device),
        cases,
    )


def write_evaluation(path: Path, evaluation: Evaluation) -> None:
    """The evaluation as JSON."""
    path.write_text(json.dumps(asdict(evaluation), indent=2) + "\n")


def read_evaluation(path: Path) -> Evaluation:
    """The evaluation in a file of `write_evaluation`."""
    entries = json.loads(path.read_text())
    cases = [CaseScore(**case | {"regions": _read_regions(case["regions"])}) for case in entries.pop("cases")]
    return Evaluation(cases=cases, **entries)


def mean_score(cases: Iterable[CaseScore], region: Region, score: str) -> float:
    """The mean of one of SCORES over subjects."""
    return float(np.mean([getattr(case.regions[region].agreement, score) for case in cases]))


def record_scores(folder: Path, model: Model, evaluation: Evaluation) -> None:
    """Write the mean Dice of each subset into the cards of a model's folder; the weights stay as they are."""
    scores = {
        subset: _mean_dice(evaluation.of(subset)) | {"precision": evaluation.precision}
        for subset in SCORED_SUBSETS
        if evaluation.of(subset)
    }
    for checkpoint in model.checkpoints:
        save_card(folder, replace(checkpoint.card, scores=scores))


def print_table(evaluation: Evaluation) -> None:
    """Print Dice and HD95 of every case, the mean of each subset, and the mean of all."""
    print(f"{'':32}" + "".join(f"{f'Dice {region}':>10}" for region in Region), end="")
    print("".join(f"{f'HD95 {region}':>10}" for region in Region) + "   (mm)")
    for subset in SCORED_SUBSETS:
        for case in evaluation.of(subset):
            _print_row(f"{subset:11}{case.name}", [case])
        _print_row(f"{subset:11}mean of {len(evaluation.of(subset))}", evaluation.of(subset))
    _print_row(f"{'all':11}mean of {len(evaluation.cases)}", evaluation.cases)


def _score(model: Model, folder: Path, subset: str) -> CaseScore:
    try:
        files = read_folder(folder)
        started = perf_counter()
        segmentation = segment(files, model)
        seconds = perf_counter() - started
    except (InputError, OSError) as error:
        raise ValueError(f"{folder.name}: {error}") from error
    if segmentation.agreement is None:
        raise ValueError(f"{folder.name}: expected ground truth to score against, found none")
    truth = decode_nifti(files[assign_roles(files)[GROUND_TRUTH]], GROUND_TRUTH)
    regions = {
        region: RegionScore(
            segmentation.agreement[region], segmentation.volumes_ml[region], float(mask.sum()) * truth.grid.voxel_ml
        )
        for region, mask in region_masks(truth.voxels).items()
    }
    return CaseScore(subset, folder.name, seconds, regions)


def _read_regions(entries: Mapping[str, Any]) -> dict[Region, RegionScore]:
    return {
        Region(region): RegionScore(**entry | {"agreement": Agreement(**entry["agreement"])})
        for region, entry in entries.items()
    }


def _mean_dice(cases: list[CaseScore]) -> dict[str, Any]:
    """The mean Dice of each region, and how many cases it is the mean of."""
    return {"cases": len(cases)} | {f"dice_{region}": round(mean_score(cases, region, "dice"), 4) for region in Region}


def _print_row(title: str, cases: list[CaseScore]) -> None:
    if cases:
        dice = "".join(f"{mean_score(cases, region, 'dice'):10.3f}" for region in Region)
        hd95_mm = "".join(f"{mean_score(cases, region, 'hd95_mm'):10.1f}" for region in Region)
        print(f"{title:32}{dice}{hd95_mm}")
