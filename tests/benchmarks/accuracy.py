"""Dice of windows, cascade and each precision, compared with whole slices in float32, on real cases.

PYTHONPATH=tests python -m benchmarks.accuracy FOLDER
"""

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from model_training.data.prepare import find_cases, read_folder
from model_training.data.split import read_split
from service.imaging.case import Case
from service.imaging.labels import Region, RegionMasks, region_masks
from service.imaging.normalise import NormalisedCase, normalise
from service.imaging.reading import read_case
from service.networks.checkpoints import load_model
from service.networks.model import Model
from service.networks.precision import precision_name
from service.segmentation.fuse import fuse
from service.segmentation.measure import dice
from service.segmentation.predict import find_mask, find_regions, predict_masks
from service.settings import DEFAULT_WEIGHTS

PRECISIONS = (torch.float32, torch.bfloat16, torch.int8)
MAX_DICE_LOSS = 0.002  # of the mean


def main() -> None:
    """Print the mean Dice of each method over the cases of a folder; fail if one loses more than MAX_DICE_LOSS."""
    data, split = Path(sys.argv[1]), read_split(Path(sys.argv[1]) / "split.json")
    scores = compare(data, split["validation"] + split["test"])
    whole = scores["whole slices, float32"]
    for method, dices in scores.items():
        means = "".join(f"  {mean:.4f} ({mean - reference:+.4f})" for mean, reference in zip(dices, whole, strict=True))
        print(f"{method:22}{means}")
    print(f"mean Dice of {', '.join(Region)}, and the difference from whole slices; limit: a loss of {MAX_DICE_LOSS}")
    sys.exit(any((dices < whole - MAX_DICE_LOSS).any() for dices in scores.values()))


def compare(data: Path, names: list[str]) -> Mapping[str, NDArray[np.float64]]:
    """The mean Dice of the three regions over cases, by method."""
    plain, folders = load_model(DEFAULT_WEIGHTS, torch.device("cpu")), find_cases(data)
    served = {precision_name(precision): plain.optimised(precision) for precision in PRECISIONS}
    scores: dict[str, list[list[float]]] = {method: [] for method in ("whole slices, float32", *served)}
    for name in names:
        case = read_case(read_folder(folders[name]))
        normalised = normalise(case.images)
        scores["whole slices, float32"].append(score(case, normalised, whole_slice_masks(plain, normalised)))
        for method, model in served.items():
            scores[method].append(score(case, normalised, predict_masks(model, normalised.intensities).masks))
    return {method: np.mean(dices, axis=0) for method, dices in scores.items()}


def score(case: Case, normalised: NormalisedCase, masks: RegionMasks) -> list[float]:
    """The Dice of the three regions."""
    assert case.ground_truth is not None
    truth = region_masks(case.ground_truth.voxels)
    return [dice(normalised.brain.uncrop(masks[region]), truth[region]) for region in Region]


def whole_slice_masks(model: Model, case: NormalisedCase) -> dict[Region, NDArray[np.bool_]]:
    """The nested masks of the networks on every whole slice, padded to a multiple of the stride."""
    masks: dict[Region, NDArray[np.bool_]] = {}
    volumes = np.zeros((4, *case.brain.grid.shape), np.float32)
    volumes[(slice(None), *case.brain.box)] = case.intensities
    slices = torch.from_numpy(volumes).permute(3, 0, 2, 1)  # (Z, 4, Y, X)
    depth, _, height, width = slices.shape
    for checkpoint in model.checkpoints:
        card = checkpoint.card
        reach, stride = max(map(abs, card.slice_offsets)), 2**card.depth
        padded = functional.pad(slices, (0, -width % stride, 0, -height % stride, 0, 0, reach, reach))
        whole = np.zeros((depth, height, width), np.uint8)
        for z in range(depth):
            seen = torch.cat([padded[z + reach + offset] for offset in card.slice_offsets])
            whole[z] = find_regions(checkpoint, seen[None], model)[0, 0, :height, :width]
        [region] = card.regions
        probability = whole.transpose(2, 1, 0)[case.brain.box]
        every_slice = np.arange(probability.shape[2])
        masks[region] = find_mask(probability, every_slice, card.min_confident_fraction.get(region, 0))
    return fuse(masks)[0]


if __name__ == "__main__":
    main()
