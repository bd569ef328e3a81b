"""Nested region masks from the networks, from the outermost region inwards, one batch of axial slices at a time."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.segmentation.case import Modality
from service.segmentation.fuse import drop_small, nest
from service.segmentation.labels import Region
from service.segmentation.model import Checkpoint, Model
from service.segmentation.network import probabilities
from service.segmentation.slices import BLOCK, AxialSlices
from service.segmentation.watch import UNWATCHED, Watch

LARGEST_SLICE = (256, 256)  # columns and rows in mm: more than any brain fills


@dataclass
class Prediction:
    """What the networks answered, and what it took."""

    masks: dict[Region, NDArray[np.bool_]]  # (X, Y, Z), nested
    voxels_changed_by_nesting: int = 0
    slices_run: dict[str, int] = field(default_factory=dict)  # by the regions of each network
    degraded: bool = False  # whether memory ran out, and smaller batches or the CPU went on


def predict_masks(
    model: Model, scores: NDArray[np.floating[Any]], voxel_ml: float = 0.001, watch: Watch = UNWATCHED
) -> Prediction:
    """The nested masks of the model's regions, from normalised modalities (4, X, Y, Z) on an LPS grid."""
    return predict_slices(model, axial_slices(model, scores), voxel_ml, watch)


def predict_slices(model: Model, slices: AxialSlices, voxel_ml: float = 0.001, watch: Watch = UNWATCHED) -> Prediction:
    """The nested masks of the model's regions, from the slices of a case.

    Slices without brain are skipped, and by the networks of TC and ET those where the region around theirs is empty:
    nesting would leave nothing there.
    """
    runner, prediction = Runner(model, watch), Prediction({})
    outer = None
    for number, checkpoint in enumerate(model.checkpoints):
        card = checkpoint.card
        with watch.stage(f"predict_{card.stem}"):
            indices = indices_to_run(slices, outer)
            found = runner.run(number, slices, indices)
            for region, mask in zip(card.regions, found, strict=True):
                nested, changed = nest(mask, outer)
                outer = drop_small(nested, card.smallest_ml.get(region, 0.0), voxel_ml)
                prediction.masks[region] = outer
                prediction.voxels_changed_by_nesting += changed
            prediction.slices_run[card.stem] = len(indices)
    prediction.degraded = runner.model is not model
    return prediction


def indices_to_run(slices: AxialSlices, outer: NDArray[np.bool_] | None) -> NDArray[np.intp]:
    """The slices that a network has to see: where the region (X, Y, Z) around its own is or, without one, the brain."""
    return slices.with_brain if outer is None else np.flatnonzero(outer.any(axis=(0, 1)))


def axial_slices(model: Model, scores: NDArray[np.floating[Any]]) -> AxialSlices:
    """Normalised modalities (4, X, Y, Z) as all networks of a model take them."""
    cards = [checkpoint.card for checkpoint in model.checkpoints]
    reach = max(abs(offset) for card in cards for offset in card.slice_offsets)
    return AxialSlices(scores, reach, 2 ** max(card.depth for card in cards), model.input_dtype)


def fit_memory(model: Model) -> Model:
    """The model with the largest slice batch that its device has room for, tried on slices as large as any head's."""
    runner = Runner(model, UNWATCHED)
    slices = axial_slices(model, np.ones((len(Modality), *LARGEST_SLICE, BLOCK), np.float32))
    for number in range(len(model.checkpoints)):
        runner.run(number, slices, slices.with_brain)
    return runner.model


class Runner:
    """Runs a model's networks over slices; takes a step down to less memory wherever it runs out."""

    def __init__(self, model: Model, watch: Watch) -> None:
        self.model = model
        self._watch = watch

    def run(self, number: int, slices: AxialSlices, indices: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Where the regions of the model's n-th checkpoint are (R, X, Y, Z), looked for in the slices of these indices.

        Raises torch.OutOfMemoryError where there is no step left.
        """
        card = self.model.checkpoints[number].card
        masks = np.zeros((len(card.regions), *slices.shape), dtype=np.bool_)  # (R, Z, Y, X)
        before = 0
        self._watch.advance(card.stem, 0, len(indices))
        for members, window in slices.blocks(indices):
            done = 0
            while done < len(members):
                batch = members[done : done + self.model.slice_batch]
                found = self._try(number, slices.take(batch, window, card.slice_offsets))
                if found is None:
                    self.model = self.model.with_less_memory()
                    continue
                room = masks[:, :, window.rows, window.columns]  # the window may reach beyond the case
                room[:, batch] = found[:, :, : room.shape[2], : room.shape[3]]
                done += len(batch)
                self._watch.advance(card.stem, before + done, len(indices))
            before += done
        return masks.transpose(0, 3, 2, 1)

    def _try(self, number: int, slices: Tensor) -> NDArray[np.bool_] | None:
        """Where the regions are (R, B, H, W); None where memory ran out."""
        try:
            return find_regions(self.model.checkpoints[number], slices, self.model)
        except torch.OutOfMemoryError:
            return None  # only once the error is gone are the tensors of its frames, and their memory, free


@torch.inference_mode()
def find_regions(checkpoint: Checkpoint, slices: Tensor, model: Model) -> NDArray[np.bool_]:
    """Where a checkpoint's regions are (R, B, H, W) in normalised slices (B, C, H, W)."""
    slices = slices.to(model.device, model.input_dtype)
    probability = _probability(checkpoint, slices)
    if checkpoint.card.mirrored:
        probability = (probability + _probability(checkpoint, slices.flip(-1)).flip(-1)) / 2
    found: NDArray[np.bool_] = (probability > 0.5).swapaxes(0, 1).cpu().numpy()
    return found


def _probability(checkpoint: Checkpoint, slices: Tensor) -> Tensor:
    """Probability (B, regions, H, W); of a network's channels the regions are the last."""
    return probabilities(checkpoint.network(slices).float())[:, -len(checkpoint.card.regions) :]
