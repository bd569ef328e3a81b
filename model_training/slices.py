"""The slices of cached cases as batches of one size for training."""

from collections.abc import Iterator
from math import ceil

import numpy as np
import torch
from torch import Tensor

from model_training.prepare import CachedCase
from service.segmentation.labels import Region, region_masks


class SliceSet:
    """Slices of many cases, centred in a common frame whose sides are multiples of the network's stride."""

    def __init__(self, cases: list[CachedCase], stride: int) -> None:
        self.cases = cases
        self.frame = tuple(
            ceil(max(case.labels.shape[axis] for case in cases) / stride) * stride for axis in (1, 2)
        )  # (H, W)
        self.addresses = [(case, index) for case in cases for index in range(len(case.labels))]
        self.holds_tumour = np.concatenate([case.labels.any(axis=(1, 2)) for case in cases])

    def draw(self, background_share: float, generator: torch.Generator) -> list[int]:
        """All slices with tumour and this share of those without, in random order."""
        with_tumour, without = np.flatnonzero(self.holds_tumour), np.flatnonzero(~self.holds_tumour)
        chosen = torch.randperm(len(without), generator=generator)[: round(background_share * len(without))]
        pool = np.concatenate([with_tumour, without[chosen.numpy()]])
        order: list[int] = pool[torch.randperm(len(pool), generator=generator).numpy()].tolist()
        return order

    def batches(self, order: list[int], size: int, region: Region) -> Iterator[tuple[Tensor, Tensor]]:
        """Normalised slices (B, 4, H, W) float32 and the region's mask (B, 1, H, W) float32, whole batches only."""
        for start in range(0, len(order) - size + 1, size):
            yield self._gather(order[start : start + size], region)

    def _gather(self, indices: list[int], region: Region) -> tuple[Tensor, Tensor]:
        height, width = self.frame
        slices = torch.zeros(len(indices), 4, height, width)
        masks = torch.zeros(len(indices), 1, height, width)
        for row, (case, index) in enumerate(self.addresses[position] for position in indices):
            labels = case.labels[index]
            y, x = ((frame - length) // 2 for frame, length in zip(self.frame, labels.shape, strict=True))
            window = (slice(y, y + labels.shape[0]), slice(x, x + labels.shape[1]))
            slices[row, :, *window] = torch.from_numpy(case.scores[index].astype(np.float32))
            masks[row, 0, *window] = torch.from_numpy(region_masks(labels)[region].astype(np.float32))
        return slices, masks
