"""The slices of cached cases for training."""

from collections.abc import Sequence
from math import ceil
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from model_training.augmentation.draws import stream_seed
from model_training.augmentation.transplant import transplant
from model_training.prepare import CachedCase, Content
from model_training.recipe import Recipe
from service.segmentation.case import Modality
from service.segmentation.labels import Region


class Sample(NamedTuple):
    """A slice to train on; batched, every member has a leading axis B."""

    slices: Tensor  # (C, Y, X) float32: the slice and the neighbours that the network sees
    labels: Tensor  # (1, Y, X) float32
    seed: Tensor  # () int64: of the random numbers of this copy


class SliceSet(Dataset[Sample]):
    """The slices of many cases, less the empty ones, centred in a shape that holds the largest.

    An item's address is (slice, copy).
    """

    def __init__(self, cases: Sequence[CachedCase], recipe: Recipe) -> None:
        self._recipe = recipe
        self._addresses = [
            (case, int(index)) for case in cases for index in np.flatnonzero(case.contents != Content.NOTHING)
        ]
        self._has_tumour = np.concatenate(
            [case.contents[case.contents != Content.NOTHING] == Content.TUMOUR for case in cases]
        )
        self.shape = tuple(max(case.labels.shape[axis] for case in cases) for axis in (1, 2))  # (Y, X)

    @property
    def frame(self) -> tuple[int, int]:
        """Height and width that the network trains on: the recipe's, or the largest slice's, to its whole stride."""
        stride = 2**self._recipe.network.depth
        height, width = (ceil(length / stride) * stride for length in self._recipe.training.frame or self.shape)
        return height, width

    def __len__(self) -> int:
        return len(self._addresses)

    def epoch(self, number: int) -> list[tuple[int, int]]:
        """What an epoch visits, in its random order: (slice, copy) of slices with tumour and a share of the others."""
        generator = torch.Generator().manual_seed(stream_seed(self._recipe.training.seed, "epoch", number))
        with_tumour, without = np.flatnonzero(self._has_tumour), np.flatnonzero(~self._has_tumour)
        share = round(self._recipe.training.background_share * len(without))
        chosen = without[torch.randperm(len(without), generator=generator)[:share].numpy()]
        copies = self._recipe.augmentation.copies
        first = number * copies if self._recipe.augmentation.fresh else 0
        pool = [(int(index), first + copy) for index in np.concatenate([with_tumour, chosen]) for copy in range(copies)]
        return [pool[place] for place in torch.randperm(len(pool), generator=generator).tolist()]

    def __getitem__(self, address: tuple[int, int]) -> Sample:
        position, copy = address
        case, index = self._addresses[position]
        seed = stream_seed(self._recipe.training.seed, f"{case.name} {index}", copy)
        slices, labels = self._load(case, index)
        donor = torch.Generator().manual_seed(stream_seed(seed, "donor", copy))
        if torch.rand((), generator=donor) < self._recipe.augmentation.transplant:
            with_tumour = np.flatnonzero(self._has_tumour)
            choice = int(torch.randint(len(with_tumour), (), generator=donor))
            slices, labels = transplant(slices, labels, *self._load(*self._addresses[with_tumour[choice]]))
        return Sample(slices, labels, torch.tensor(seed))

    def _load(self, case: CachedCase, index: int) -> tuple[Tensor, Tensor]:
        """A slice with its neighbours (C, Y, X), zeros beyond the case, and its labels (1, Y, X)."""
        offsets = self._recipe.network.slice_offsets
        slices, labels = torch.zeros(len(offsets), len(Modality), *self.shape), torch.zeros(1, *self.shape)
        y, x = (_middle(length, used) for length, used in zip(self.shape, case.labels.shape[1:], strict=True))
        for stack, offset in zip(slices, offsets, strict=True):
            if 0 <= index + offset < len(case.scores):
                stack[:, y, x] = torch.from_numpy(case.scores[index + offset].astype(np.float32))
        labels[0, y, x] = torch.from_numpy(case.labels[index].astype(np.float32))
        return slices.flatten(0, 1), labels


def truth_channels(labels: Tensor, regions: tuple[Region, ...]) -> Tensor:
    """What a network of these regions should answer for labels (B, 1, H, W), as (B, C, H, W) float32.

    Background and foreground of one region, or each of the three regions.
    """
    masks = {Region.WT: labels > 0, Region.TC: (labels == 1) | (labels == 4), Region.ET: labels == 4}
    if len(regions) == 1:
        [region] = regions
        return torch.cat([~masks[region], masks[region]], dim=1).float()
    return torch.cat([masks[region] for region in regions], dim=1).float()


def _middle(length: int, used: int) -> slice:
    first = (length - used) // 2
    return slice(first, first + used)
