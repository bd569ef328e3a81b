"""Dataset of the slices of cached cases."""

from collections.abc import Sequence
from math import ceil
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from model_training import processes
from model_training.augmentation.random_streams import stream_seed
from model_training.augmentation.transplant import transplant
from model_training.data.prepare import CachedCase, Content
from model_training.recipe import Recipe
from service.imaging.case import Modality
from service.imaging.labels import BACKGROUND, NECROTIC_CORE, EnhancingLabel, Region


class Sample(NamedTuple):
    """A training slice; in a batch, every field has a leading axis B."""

    slices: Tensor  # (C, Y, X) float32: the slice and the neighbours that the network also sees
    labels: Tensor  # (1, Y, X) float32
    seed: Tensor  # () int64: for the random numbers of this copy


class SliceDataset(Dataset[Sample]):
    """The non-empty slices of many cases, padded to the size of the largest.

    An item is indexed by (slice, copy).
    """

    def __init__(self, cases: Sequence[CachedCase], recipe: Recipe) -> None:
        self._recipe = recipe
        self._slices = [
            (case, int(index)) for case in cases for index in np.flatnonzero(case.contents != Content.EMPTY)
        ]
        self._has_tumour = np.concatenate(
            [case.contents[case.contents != Content.EMPTY] == Content.TUMOUR for case in cases]
        )
        self.shape = tuple(max(case.labels.shape[axis] for case in cases) for axis in (1, 2))  # (Y, X)

    @property
    def patch_size(self) -> tuple[int, int]:
        """Height and width of a training patch: the recipe's or the largest slice's, rounded up to the stride."""
        stride = 2**self._recipe.network.depth
        height, width = (ceil(length / stride) * stride for length in self._recipe.training.patch_size or self.shape)
        return height, width

    def __len__(self) -> int:
        return len(self._slices)

    def epoch_order(self, epoch: int) -> list[tuple[int, int]]:
        """List the items (slice, copy) of an epoch in random order.

        They are all slices with tumour and a random selection of the others, in the fraction that the recipe sets.
        """
        generator = torch.Generator().manual_seed(stream_seed(self._recipe.training.seed, "epoch", epoch))
        with_tumour, without_tumour = np.flatnonzero(self._has_tumour), np.flatnonzero(~self._has_tumour)
        count = round(self._recipe.training.background_share * len(without_tumour))
        background = without_tumour[torch.randperm(len(without_tumour), generator=generator)[:count].numpy()]
        copies = self._recipe.augmentation.copies
        first = epoch * copies if self._recipe.augmentation.new_each_epoch else 0
        items = [
            (int(index), first + copy) for index in np.concatenate([with_tumour, background]) for copy in range(copies)
        ]
        return [items[place] for place in torch.randperm(len(items), generator=generator).tolist()]

    def steps_per_epoch(self) -> int:
        """Number of whole batches in an epoch.

        Raises ValueError if there is none, or if a batch cannot be divided equally among the processes.
        """
        slices, batch, world_size = len(self.epoch_order(0)), self._recipe.training.batch, processes.world_size()
        if batch > slices or batch % world_size:
            raise ValueError(
                f"batch: expected a multiple of {world_size} (processes) up to {slices} (slices), found {batch}"
            )
        return slices // batch

    def batches(self, epoch: int) -> list[list[tuple[int, int]]]:
        """This process's part of each whole batch of an epoch."""
        size = self._recipe.training.batch
        order = self.epoch_order(epoch)
        starts = range(0, len(order) - size + 1, size)
        return [order[start : start + size][processes.rank() :: processes.world_size()] for start in starts]

    def __getitem__(self, item: tuple[int, int]) -> Sample:
        position, copy = item
        case, index = self._slices[position]
        seed = stream_seed(self._recipe.training.seed, f"{case.name} {index}", copy)
        slices, labels = self._load(case, index)
        generator = torch.Generator().manual_seed(stream_seed(seed, "donor", copy))
        if torch.rand((), generator=generator) < self._recipe.augmentation.transplant:
            with_tumour = np.flatnonzero(self._has_tumour)
            donor = with_tumour[int(torch.randint(len(with_tumour), (), generator=generator))]
            slices, labels = transplant(slices, labels, *self._load(*self._slices[donor]))
        return Sample(slices, labels, torch.tensor(seed))

    def _load(self, case: CachedCase, index: int) -> tuple[Tensor, Tensor]:
        """Load a slice with its neighbours (C, Y, X), zero beyond the case, and its labels (1, Y, X)."""
        offsets = self._recipe.network.slice_offsets
        slices, labels = torch.zeros(len(offsets), len(Modality), *self.shape), torch.zeros(1, *self.shape)
        y, x = (_centred(length, used) for length, used in zip(self.shape, case.labels.shape[1:], strict=True))
        for stack, offset in zip(slices, offsets, strict=True):
            if 0 <= index + offset < len(case.intensities):
                stack[:, y, x] = torch.from_numpy(case.intensities[index + offset].astype(np.float32))
        labels[0, y, x] = torch.from_numpy(case.labels[index].astype(np.float32))
        return slices.flatten(0, 1), labels


def truth_channels(labels: Tensor, regions: tuple[Region, ...]) -> Tensor:
    """Convert labels (B, 1, H, W) of BraTS 2022 to the target of a network for these regions, (B, C, H, W) float32.

    The channels are background and foreground of one region, or each of the three regions.
    """
    enhancing = labels == EnhancingLabel.BRATS_2022
    masks = {Region.WT: labels != BACKGROUND, Region.TC: (labels == NECROTIC_CORE) | enhancing, Region.ET: enhancing}
    if len(regions) == 1:
        [region] = regions
        return torch.cat([~masks[region], masks[region]], dim=1).float()
    return torch.cat([masks[region] for region in regions], dim=1).float()


def _centred(length: int, used: int) -> slice:
    first = (length - used) // 2
    return slice(first, first + used)
