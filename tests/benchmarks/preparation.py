"""How well raw scans are prepared: synthetic raw versions of real cases, compared with the cases themselves.

PYTHONPATH=tests python -m benchmarks.preparation FOLDER [WEIGHTS]
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from support.raw_head import RawCase, make_raw

from model_training.data.prepare import find_cases, read_folder
from model_training.data.split import read_split
from service.imaging.case import Case, Modality
from service.imaging.geometry import resample_mask
from service.imaging.labels import Region, region_masks
from service.imaging.reading import read_case
from service.imaging.volume import Grid
from service.networks.checkpoints import load_model
from service.networks.model import Model
from service.preparation.brain import BrainNetworks, load_brain_networks
from service.preparation.preparation import Preparation
from service.preparation.prepare import prepare_raw
from service.segmentation.measure import dice
from service.segmentation.pipeline import Segmentation, finish, predict, prepare
from service.settings import DEFAULT_WEIGHTS

LEAST_DICE = {Region.WT: 0.90, Region.TC: 0.88, Region.ET: 0.85}  # mean over the cases
MAX_ERROR_MM, EXACT_SHARE = 1.5, 0.95  # so many of the series are registered as exactly as this
DOUBTFUL_DICE = 0.7  # of the mask of a region; below it, a review must be recommended


@dataclass(frozen=True)
class Result:
    """How the answer on a raw case differs from the answer on the prepared one."""

    errors_mm: Mapping[Modality, float]  # of the registration, mean over the tumour
    brain_overlaps: Mapping[Modality, float]  # what the preparation itself knows about the registration
    brain_dice: float
    dices: Mapping[Region, float]
    is_reviewed: bool
    seconds: float

    def __str__(self) -> str:
        errors = " ".join(f"{error:5.2f}" for error in self.errors_mm.values())
        overlaps = " ".join(f"{overlap:.2f}" for overlap in self.brain_overlaps.values())
        dices = " ".join(f"{value:.3f}" for value in self.dices.values())
        review = "review" if self.is_reviewed else ""
        return f"{errors} mm  {overlaps}  brain {self.brain_dice:.3f}  {dices}  {self.seconds:.0f} s {review}"


def main() -> None:
    """Print the figures of each case and of all, and fail if they are worse than the limits."""
    data = Path(sys.argv[1])
    split, folders = read_split(data / "split.json"), find_cases(data)
    model = load_model(Path(sys.argv[2]) if sys.argv[2:] else DEFAULT_WEIGHTS, torch.device("cpu")).optimised()
    networks, results = load_brain_networks(), []
    for seed, name in enumerate(split["validation"] + split["test"]):
        case = read_case(read_folder(folders[name]))
        results.append(compare(case, make_raw(case, seed), model, networks))
        print(f"{name:24}{results[-1]}", flush=True)
    sys.exit(not is_good(results))


def compare(case: Case, raw: RawCase, model: Model, networks: BrainNetworks) -> Result:
    """Prepare and segment a raw case, and compare with the answer on the prepared one."""
    plain = segment(case, model)
    start = perf_counter()
    preparation = prepare_raw(raw.case, [], networks)
    found = segment(raw.case, model, preparation)
    seconds = perf_counter() - start
    grid = found.labels.grid
    source = Grid(case.grid.shape, raw.motions[preparation.reference] @ case.grid.affine)
    expected, masks = region_masks(plain.labels.voxels), region_masks(found.labels.voxels)
    brain = np.logical_or.reduce([image.voxels != 0 for image in case.images.values()])
    tumour = np.argwhere(expected[Region.WT]) @ case.grid.affine[:3, :3].T + case.grid.affine[:3, 3]
    return Result(
        {modality: error_mm(tumour, modality, raw, preparation) for modality in preparation.series},
        {modality: series.brain_overlap for modality, series in preparation.series.items()},
        dice(preparation.brain_mask.voxels != 0, resample_mask(brain, source, grid)),
        {region: dice(masks[region], resample_mask(expected[region], source, grid)) for region in Region},
        bool(found.review_reasons),
        seconds,
    )


def segment(case: Case, model: Model, preparation: Preparation | None = None) -> Segmentation:
    """The service's answer."""
    return finish(predict(prepare(case, model, preparation=preparation), model), model)


def error_mm(tumour: NDArray[np.float64], modality: Modality, raw: RawCase, preparation: Preparation) -> float:
    """Mean distance between where the tumour (N, 3) of a series is put and where it belongs."""
    points = np.pad(tumour, ((0, 0), (0, 1)), constant_values=1).T
    put = preparation.series[modality].motion @ raw.motions[modality] @ points
    return float(np.linalg.norm((put - raw.motions[preparation.reference] @ points)[:3], axis=0).mean())


def is_good(results: Sequence[Result]) -> bool:
    """Print the figures of all cases; whether they keep the limits."""
    errors = [error for result in results for error in result.errors_mm.values()]
    exact = float(np.mean([error <= MAX_ERROR_MM for error in errors]))
    means = {region: float(np.mean([result.dices[region] for result in results])) for region in Region}
    silent = [result for result in results if min(result.dices.values()) < DOUBTFUL_DICE and not result.is_reviewed]
    print(f"{exact:.0%} of {len(errors)} series within {MAX_ERROR_MM} mm (limit: {EXACT_SHARE:.0%})")
    print("; ".join(f"{region} {mean:.3f} (limit: {LEAST_DICE[region]})" for region, mean in means.items()))
    print(f"{len(silent)} cases with a Dice below {DOUBTFUL_DICE} without a recommended review (limit: 0)")
    return exact >= EXACT_SHARE and not silent and all(means[region] >= LEAST_DICE[region] for region in Region)


if __name__ == "__main__":
    main()
