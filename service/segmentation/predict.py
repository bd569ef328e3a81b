"""Region masks from the networks, one batch of axial slices at a time."""

from math import ceil
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from service.segmentation.labels import Region
from service.segmentation.network import probabilities
from service.segmentation.weights import Checkpoint, Model

SLICE_BATCH = 10  # the paper's batch (section III.C)


def predict_masks(model: Model, scores: NDArray[np.float32]) -> dict[Region, NDArray[np.bool_]]:
    """The mask (X, Y, Z) of each region, from normalised modalities (4, X, Y, Z) on an LPS grid.

    Slices that are zero throughout hold no brain and are skipped.
    """
    masks = {region: np.zeros(scores.shape[1:], dtype=np.bool_) for region in Region}
    occupied = np.flatnonzero(scores.any(axis=(0, 1, 2)))
    for checkpoint in model.checkpoints:
        for start in range(0, len(occupied), SLICE_BATCH):
            batch = occupied[start : start + SLICE_BATCH]
            slices = axial_slices(scores, batch, checkpoint.card.slice_offsets)
            predicted = predict_slices(checkpoint, slices, model.device)  # (B, R, Y, X)
            for region, probability in zip(checkpoint.card.regions, predicted.swapaxes(0, 1), strict=True):
                masks[region][:, :, batch] = probability.T > 0.5
    return masks


def axial_slices(
    volumes: NDArray[np.floating[Any]], indices: NDArray[np.intp], offsets: tuple[int, ...]
) -> NDArray[np.float32]:
    """Slices (B, C * offsets, Y, X) of volumes (C, X, Y, Z), each with its neighbours; zeros beyond the volumes.

    Rows run from anterior to posterior, columns from right to left.
    """
    stack = np.concatenate(
        [_slices_or_zeros(volumes, indices + offset) for offset in offsets]
    )  # (offsets * C, X, Y, B)
    return stack.transpose(3, 0, 2, 1)


def _slices_or_zeros(volumes: NDArray[np.floating[Any]], indices: NDArray[np.intp]) -> NDArray[np.float32]:
    depth = volumes.shape[-1]
    within = (indices >= 0) & (indices < depth)
    return np.where(within, volumes[..., indices.clip(0, depth - 1)], np.float32(0))


@torch.inference_mode()
def predict_slices(checkpoint: Checkpoint, slices: NDArray[np.float32], device: torch.device) -> NDArray[np.float32]:
    """Probability (B, regions, Y, X) of the checkpoint's regions in normalised slices (B, C, Y, X) of any size."""
    height, width = slices.shape[-2:]
    padded = _pad(torch.from_numpy(np.ascontiguousarray(slices)), 2**checkpoint.card.depth)
    padded = padded.to(device, memory_format=torch.channels_last)
    probability = _probability(checkpoint, padded)
    if checkpoint.card.mirrored:
        probability = (probability + _probability(checkpoint, padded.flip(-1)).flip(-1)) / 2
    return probability[..., :height, :width].cpu().numpy()


def _probability(checkpoint: Checkpoint, slices: Tensor) -> Tensor:
    """Probability (B, regions, H, W); of a network's channels the regions are the last."""
    return probabilities(checkpoint.network(slices).float())[:, -len(checkpoint.card.regions) :]


def _pad(slices: Tensor, multiple: int) -> Tensor:
    """Zeros below and to the right, as outside the brain, up to a multiple in height and width."""
    height, width = slices.shape[-2:]
    below, right = (ceil(length / multiple) * multiple - length for length in (height, width))
    return functional.pad(slices, (0, right, 0, below))
