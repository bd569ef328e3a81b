"""Evaluation of a model on cases with ground truth, with the same pipeline as the service."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from tqdm import tqdm

from model_training.data.prepare import find_cases, read_folder
from model_training.data.split import Split
from model_training.memory import peak_memory_mib
from service.imaging.case import GROUND_TRUTH, Modality
from service.imaging.errors import InputError
from service.imaging.formats import decode
from service.imaging.labels import Region, region_masks
from service.imaging.names import assign_roles, role_of
from service.networks.model import Model
from service.networks.model_card import save_card
from service.networks.precision import precision_name
from service.segmentation.measure import Scores
from service.segmentation.options import Options
from service.segmentation.pipeline import segment

METRICS = ("dice", "sensitivity", "specificity", "hd95_mm")
EVALUATED_SUBSETS = ("validation", "test")


@dataclass(frozen=True)
class RegionResult:
    """Scores and volumes of one region of one case."""

    scores: Scores
    volume_ml: float
    true_volume_ml: float
    confident_fraction: float  # of the region: where its network is confident


@dataclass(frozen=True)
class CaseResult:
    """Results of one case."""

    subset: str
    name: str
    seconds: float  # from the bytes of the files to masks and scores
    regions: Mapping[Region, RegionResult]


@dataclass(frozen=True)
class Evaluation:
    """Results of a model on all cases, and the resources used."""

    model: str
    sha256: str
    device: str
    precision: str
    peak_memory_mib: float  # resident memory of the evaluating process, or on a GPU the memory that torch allocated
    cases: list[CaseResult]
    missing: Sequence[str] = ()  # modalities that were withheld from the networks

    def of(self, subset: str) -> list[CaseResult]:
        """The cases of a subset."""
        return [case for case in self.cases if case.subset == subset]


def evaluate(model: Model, data: Path, split: Split, missing: Sequence[Modality] = ()) -> Evaluation:
    """Evaluate every validation and test case of a split, without the modalities that are to be missing.

    Raises ValueError, naming the case, if one fails.
    """
    folders = find_cases(data)
    cases = [
        _evaluate_case(model, folders.get(name, data / name), subset, missing)
        for subset in EVALUATED_SUBSETS
        for name in tqdm(split[subset], desc=subset, unit="case")
    ]
    return Evaluation(
        model.name,
        model.sha256,
        str(model.device),
        precision_name(model.precision),
        peak_memory_mib(model.device),
        cases,
        missing,
    )


def write_evaluation(path: Path, evaluation: Evaluation) -> None:
    """Write an evaluation as JSON, atomically."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(asdict(evaluation), indent=2) + "\n")
    partial.replace(path)


def read_evaluation(path: Path) -> Evaluation:
    """Read an evaluation that `write_evaluation` wrote. Raises ValueError if it has another format."""
    entries = json.loads(path.read_text())
    try:
        cases = [CaseResult(**case | {"regions": _read_regions(case["regions"])}) for case in entries.pop("cases")]
        return Evaluation(cases=cases, missing=tuple(entries.pop("missing", ())), **entries)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: expected the current format ({error}); run evaluate again") from error


def mean_score(cases: Iterable[CaseResult], region: Region, metric: str) -> float:
    """Mean of one of METRICS over cases."""
    return float(np.mean([getattr(case.regions[region].scores, metric) for case in cases]))


def record_scores(folder: Path, model: Model, evaluation: Evaluation) -> None:
    """Write the mean Dice of each subset to the model cards in a model's folder; the weights do not change."""
    scores = {
        subset: _mean_dice(evaluation.of(subset)) | {"precision": evaluation.precision}
        for subset in EVALUATED_SUBSETS
        if evaluation.of(subset)
    }
    for checkpoint in model.checkpoints:
        save_card(folder, replace(checkpoint.card, scores=scores))


def print_table(evaluation: Evaluation) -> None:
    """Print Dice and HD95 of every case, the mean of each subset, and the mean of all cases."""
    print(f"{'':32}" + "".join(f"{f'Dice {region}':>10}" for region in Region), end="")
    print("".join(f"{f'HD95 {region}':>10}" for region in Region) + "   (mm)")
    for subset in EVALUATED_SUBSETS:
        for case in evaluation.of(subset):
            _print_row(f"{subset:11}{case.name}", [case])
        _print_row(f"{subset:11}mean of {len(evaluation.of(subset))}", evaluation.of(subset))
    _print_row(f"{'all':11}mean of {len(evaluation.cases)}", evaluation.cases)


def _evaluate_case(model: Model, folder: Path, subset: str, missing: Sequence[Modality]) -> CaseResult:
    try:
        files = {name: data for name, data in read_folder(folder).items() if role_of(name) not in missing}
        started = perf_counter()
        segmentation = segment(files, model, Options(allow_missing=bool(missing)))
        seconds = perf_counter() - started
    except (InputError, OSError) as error:
        raise ValueError(f"{folder.name}: {error}") from error
    if segmentation.scores is None:
        raise ValueError(f"{folder.name}: expected a ground truth for the scores, found none")
    first, *second = (files[name] for name in assign_roles(files)[GROUND_TRUTH])
    truth = decode(first, GROUND_TRUTH, *second)
    regions = {
        region: RegionResult(
            segmentation.scores[region],
            segmentation.volumes_ml[region],
            float(mask.sum()) * truth.grid.voxel_ml,
            segmentation.prediction.confident_fraction[region],
        )
        for region, mask in region_masks(truth.voxels).items()
    }
    return CaseResult(subset, folder.name, seconds, regions)


def _read_regions(entries: Mapping[str, Any]) -> dict[Region, RegionResult]:
    return {
        Region(region): RegionResult(**entry | {"scores": Scores(**entry["scores"])})
        for region, entry in entries.items()
    }


def _mean_dice(cases: list[CaseResult]) -> dict[str, Any]:
    """The number of cases and the mean Dice of each region."""
    return {"cases": len(cases)} | {f"dice_{region}": round(mean_score(cases, region, "dice"), 4) for region in Region}


def _print_row(title: str, cases: list[CaseResult]) -> None:
    if cases:
        dice = "".join(f"{mean_score(cases, region, 'dice'):10.3f}" for region in Region)
        hd95_mm = "".join(f"{mean_score(cases, region, 'hd95_mm'):10.1f}" for region in Region)
        print(f"{title:32}{dice}{hd95_mm}")
