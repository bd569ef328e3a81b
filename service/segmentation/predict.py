"""Nested region masks from the networks, from the outermost region inwards, one batch of axial slices at a time."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.imaging.case import Modality
from service.imaging.labels import RegionMasks
from service.networks.model import Checkpoint, Model
from service.networks.unet import probabilities
from service.segmentation.fuse import CUBIC_MM_ML, Fusion
from service.segmentation.progress import NO_OBSERVER, ProgressObserver
from service.segmentation.slices import BLOCK, AxialSlices

LARGEST_SLICE = (256, 256)  # columns and rows in mm: larger than any brain


@dataclass(frozen=True)
class Prediction:
    """The networks' masks, and what it took to compute them."""

    masks: RegionMasks  # (X, Y, Z), nested
    voxels_changed_by_nesting: int
    slices_run: Mapping[str, int]  # by network
    degraded: bool  # whether memory ran out, so that smaller batches or the CPU were used


def predict_masks(
    model: Model,
    intensities: NDArray[np.floating[Any]],
    voxel_ml: float = CUBIC_MM_ML,
    observer: ProgressObserver = NO_OBSERVER,
) -> Prediction:
    """Predict the nested masks of the model's regions from normalised modalities (4, X, Y, Z) on an LPS grid."""
    return predict_slices(model, axial_slices(model, intensities), voxel_ml, observer)


def predict_slices(
    model: Model, slices: AxialSlices, voxel_ml: float = CUBIC_MM_ML, observer: ProgressObserver = NO_OBSERVER
) -> Prediction:
    """Predict the nested masks of the model's regions from the slices of a case.

    A network runs only on the slices that `Fusion.slices_to_run` names.
    """
    runner, fusion = NetworkRunner(model, observer), Fusion(slices.with_brain, voxel_ml)
    slices_run = {}
    for number, checkpoint in enumerate(model.checkpoints):
        card = checkpoint.card
        with observer.stage(f"predict_{card.stem}"):
            slices_run[card.stem] = len(fusion.slices_to_run)
            masks = runner.run(number, slices, fusion.slices_to_run)
            fusion.add(dict(zip(card.regions, masks, strict=True)), card.min_volume_ml)
    degraded = runner.model is not model
    return Prediction(fusion.masks, fusion.voxels_changed_by_nesting, slices_run, degraded)


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

    def run(self, number: int, slices: AxialSlices, indices: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Masks (R, X, Y, Z) of the regions of the model's n-th checkpoint, predicted on the slices at these indices.

        Raises torch.OutOfMemoryError if memory use cannot be reduced further.
        """
        card = self.model.checkpoints[number].card
        masks = np.zeros((len(card.regions), *slices.shape), dtype=np.bool_)  # (R, Z, Y, X)
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
                target = masks[:, :, crop.rows, crop.columns]  # the crop may extend beyond the case
                target[:, batch] = found[:, :, : target.shape[2], : target.shape[3]]
                remaining = remaining[len(batch) :]
                done += len(batch)
                self._observer.advance(card.stem, done, len(indices))
        return masks.transpose(0, 3, 2, 1)

    def _try(self, number: int, slices: Tensor) -> NDArray[np.bool_] | None:
        """Masks (R, B, H, W); None if memory ran out."""
        try:
            return find_regions(self.model.checkpoints[number], slices, self.model)
        except torch.OutOfMemoryError:
            return None  # retry outside this handler: the exception keeps tensors, and so their memory, alive


@torch.inference_mode()
def find_regions(checkpoint: Checkpoint, slices: Tensor, model: Model) -> NDArray[np.bool_]:
    """Masks (R, B, H, W) of a checkpoint's regions in normalised slices (B, C, H, W)."""
    slices = slices.to(model.device, model.input_dtype)
    probability = _probability(checkpoint, slices)
    if checkpoint.card.flip_tta:
        probability = (probability + _probability(checkpoint, slices.flip(-1)).flip(-1)) / 2
    found: NDArray[np.bool_] = (probability > 0.5).swapaxes(0, 1).cpu().numpy()
    return found


def _probability(checkpoint: Checkpoint, slices: Tensor) -> Tensor:
    """Probability (B, R, H, W); the regions are the last of a network's output channels."""
    return probabilities(checkpoint.network(slices).float())[:, -len(checkpoint.card.regions) :]
