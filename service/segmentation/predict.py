"""Probability maps and nested region masks from the networks, one batch of axial slices at a time."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.imaging.case import Modality
from service.imaging.labels import Region, RegionMasks
from service.networks.model import Checkpoint, Model
from service.networks.unet import probabilities
from service.segmentation.fuse import fuse, slices_with
from service.segmentation.progress import NO_OBSERVER, ProgressObserver
from service.segmentation.quality import HALF, confident_fraction
from service.segmentation.slices import BLOCK, AxialSlices

OWN_WEIGHT, NEIGHBOUR_WEIGHT = 13, 6  # a certain voxel is in the mask even if both neighbours are certainly not
LARGEST_SLICE = (256, 256)  # columns and rows in mm: larger than any brain


@dataclass(frozen=True)
class Prediction:
    """The networks' probability maps, the masks made from them, and what it took to compute them."""

    probabilities: Mapping[Region, NDArray[np.uint8]]  # (X, Y, Z) in 1/255; zero in slices that were not run
    masks: RegionMasks  # (X, Y, Z), nested
    confident_fraction: Mapping[Region, float]
    voxels_changed_by_nesting: int
    slices_run: Mapping[str, int]  # by network
    degraded: bool  # whether memory ran out, so that smaller batches or the CPU were used


def predict_masks(
    model: Model, intensities: NDArray[np.floating[Any]], observer: ProgressObserver = NO_OBSERVER
) -> Prediction:
    """Predict the nested masks of the model's regions from normalised modalities (4, X, Y, Z) on an LPS grid."""
    return predict_slices(model, axial_slices(model, intensities), observer)


def predict_slices(model: Model, slices: AxialSlices, observer: ProgressObserver = NO_OBSERVER) -> Prediction:
    """Predict the nested masks of the model's regions from the slices of a case.

    The first network runs on all slices with brain, the others only where it found its region: fusion removes the rest.
    """
    runner, to_run = NetworkRunner(model, observer), slices.with_brain
    probabilities: dict[Region, NDArray[np.uint8]] = {}
    fractions: dict[Region, float] = {}
    masks: dict[Region, NDArray[np.bool_]] = {}
    slices_run = {}
    for number, checkpoint in enumerate(model.checkpoints):
        card = checkpoint.card
        with observer.stage(f"predict_{card.stem}"):
            slices_run[card.stem] = len(to_run)
            for region, probability in zip(card.regions, runner.run(number, slices, to_run), strict=True):
                probabilities[region], fractions[region] = probability, confident_fraction(probability)
                masks[region] = find_mask(probability, to_run, card.min_confident_fraction.get(region, 0))
            to_run = slices_with(next(iter(masks.values())))
    fused, changed = fuse(masks)
    return Prediction(probabilities, fused, fractions, changed, slices_run, degraded=runner.model is not model)


def find_mask(
    probability: NDArray[np.uint8], slices: NDArray[np.intp], min_confident_fraction: float = 0
) -> NDArray[np.bool_]:
    """The voxels of a probability map (X, Y, Z), in 1/255, with a weighted mean of at least one half.

    The mean is over a voxel and its neighbours in the adjacent slices, which a 2D network sees separately; only the
    slices listed count, and only they can contain a mask. The mask is empty if the network is not confident enough: in
    a patient without enhancing tumour, what looks like it is most often a vessel, and uncertain.
    """
    mask = np.zeros_like(probability, dtype=bool)
    if min_confident_fraction and confident_fraction(probability) < min_confident_fraction:
        return mask
    below, above = (np.where(np.isin(slices + step, slices), slices + step, slices) for step in (-1, 1))
    own, lower, upper = (probability[..., indices].astype(np.uint16) for indices in (slices, below, above))
    weighted_sum = OWN_WEIGHT * own + NEIGHBOUR_WEIGHT * (lower + upper)
    mask[..., slices] = weighted_sum >= HALF * (OWN_WEIGHT + 2 * NEIGHBOUR_WEIGHT)
    return mask


def axial_slices(model: Model, intensities: NDArray[np.floating[Any]]) -> AxialSlices:
    """Lay out normalised modalities (4, X, Y, Z) as all networks of a model expect them."""
    cards = [checkpoint.card for checkpoint in model.checkpoints]
    reach = max(abs(offset) for card in cards for offset in card.slice_offsets)
    return AxialSlices(intensities, reach, 2 ** max(card.depth for card in cards), model.input_dtype)


def fit_batch_size(model: Model) -> Model:
    """Halve the batch size until the largest slices fit into the device's memory; failing that, use the CPU."""
    runner = NetworkRunner(model, NO_OBSERVER)
    slices = axial_slices(model, np.ones((len(Modality), *LARGEST_SLICE, BLOCK), np.float32))
    for number in range(len(model.checkpoints)):
        runner.run(number, slices, slices.with_brain)
    return runner.model


class NetworkRunner:
    """Runs a model's networks over slices, and reduces its memory use whenever memory runs out."""

    def __init__(self, model: Model, observer: ProgressObserver) -> None:
        self.model = model
        self._observer = observer

    def run(self, number: int, slices: AxialSlices, indices: NDArray[np.intp]) -> NDArray[np.uint8]:
        """Probabilities (R, X, Y, Z), in 1/255, of the regions of the model's n-th checkpoint in the slices given.

        Raises torch.OutOfMemoryError if memory use cannot be reduced further.
        """
        card = self.model.checkpoints[number].card
        maps = np.zeros((len(card.regions), *slices.shape), dtype=np.uint8)  # (R, Z, Y, X)
        done = 0
        self._observer.advance(card.stem, done, len(indices))
        for members, crop in slices.blocks(indices):
            remaining = members
            while len(remaining):
                batch = remaining[: self.model.batch_size]
                found = self._try(number, slices.take(batch, crop, card.slice_offsets))
                if found is None:
                    self.model = self.model.with_less_memory()
                    continue
                target = maps[:, :, crop.rows, crop.columns]  # the crop may extend beyond the case
                target[:, batch] = found[:, :, : target.shape[2], : target.shape[3]]
                remaining = remaining[len(batch) :]
                done += len(batch)
                self._observer.advance(card.stem, done, len(indices))
        return maps.transpose(0, 3, 2, 1)

    def _try(self, number: int, slices: Tensor) -> NDArray[np.uint8] | None:
        """Probabilities (R, B, H, W); None if memory ran out."""
        try:
            return find_regions(self.model.checkpoints[number], slices, self.model)
        except torch.OutOfMemoryError:
            return None  # retry outside this handler: the exception keeps tensors, and so their memory, alive


@torch.inference_mode()
def find_regions(checkpoint: Checkpoint, slices: Tensor, model: Model) -> NDArray[np.uint8]:
    """Probabilities (R, B, H, W), in 1/255, of a checkpoint's regions in normalised slices (B, C, H, W)."""
    slices = slices.to(model.device, model.input_dtype)
    probability = _probability(checkpoint, slices)
    if checkpoint.card.flip_tta:
        probability = (probability + _probability(checkpoint, slices.flip(-1)).flip(-1)) / 2
    in_bytes: NDArray[np.uint8] = (255 * probability).round().to(torch.uint8).swapaxes(0, 1).cpu().numpy()
    return in_bytes


def _probability(checkpoint: Checkpoint, slices: Tensor) -> Tensor:
    """Probability (B, R, H, W); the regions are the last of a network's output channels."""
    return probabilities(checkpoint.network(slices).float())[:, -len(checkpoint.card.regions) :]
