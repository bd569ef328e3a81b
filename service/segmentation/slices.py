"""The axial slices of a case as the networks take them: with their neighbours, cropped to the brain."""

from collections.abc import Iterator
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BLOCK = 10  # slices that share a crop; not the batch size, because that must not influence the masks


class Crop(NamedTuple):
    """Rows and columns of a slice."""

    rows: slice
    columns: slice


class AxialSlices:
    """The slices of normalised modalities (4, X, Y, Z) on an LPS grid; `take` crops them to the brain in their block.

    Rows run from anterior to posterior, columns from right to left. `reach` is the distance in slices to the farthest
    neighbour that a network sees; heights and widths are multiples of `stride`.
    """

    def __init__(self, intensities: NDArray[np.floating[Any]], reach: int, stride: int, precision: torch.dtype) -> None:
        modalities, columns, rows, depth = intensities.shape
        padded = (depth + 2 * reach, modalities, round_up(rows, stride), round_up(columns, stride))
        self._voxels = torch.zeros(padded, dtype=precision).contiguous(memory_format=torch.channels_last)
        self._voxels[reach : reach + depth, :, :rows, :columns] = torch.from_numpy(intensities).permute(3, 0, 2, 1)
        self._reach, self._stride = reach, stride
        brain: NDArray[np.bool_] = (self._voxels != 0).any(dim=1).numpy()
        self._rows: NDArray[np.bool_] = np.any(brain, axis=2)  # (Z, Y)
        self._columns: NDArray[np.bool_] = np.any(brain, axis=1)  # (Z, X)
        self.shape = depth, rows, columns  # (Z, Y, X)

    @property
    def with_brain(self) -> NDArray[np.intp]:
        """Indices of the slices with at least one non-zero voxel."""
        return np.flatnonzero(self._rows[self._reach : self._reach + self.shape[0]].any(axis=1))

    def blocks(self, indices: NDArray[np.intp]) -> Iterator[tuple[NDArray[np.intp], Crop]]:
        """The given indices, grouped by block, with the crop of each block."""
        for block, members in groupby(indices.tolist(), key=lambda index: index // BLOCK):
            yield np.array(list(members)), self._crop(block)

    def take(self, indices: NDArray[np.intp], crop: Crop, offsets: tuple[int, ...]) -> Tensor:
        """Slices (B, offsets * 4, H, W) with their neighbours at these offsets; zeros outside the case."""
        view = self._voxels[:, :, crop.rows, crop.columns]
        _, modalities, rows, columns = view.shape
        shape = len(indices), len(offsets) * modalities, rows, columns
        stack = torch.empty(shape, dtype=view.dtype, memory_format=torch.channels_last)
        for channels, offset in zip(stack.split(modalities, dim=1), offsets, strict=True):
            channels[:] = view[torch.from_numpy(indices + self._reach + offset)]
        return stack

    def _crop(self, block: int) -> Crop:
        """The crop that contains the brain in the slices of a block and their neighbours."""
        visible = slice(block * BLOCK, (block + 1) * BLOCK + 2 * self._reach)
        return Crop(self._extent(self._rows[visible]), self._extent(self._columns[visible]))

    def _extent(self, occupied: NDArray[np.bool_]) -> slice:
        """Range from the first to the last position (axis 1) occupied in any slice, rounded up to the stride."""
        positions = np.flatnonzero(occupied.any(axis=0))
        length = round_up(positions[-1] + 1 - positions[0], self._stride)
        first = min(positions[0], occupied.shape[1] - length)
        return slice(first, first + length)


def round_up(length: int, multiple: int) -> int:
    """Round a length up to the next multiple."""
    return -(-length // multiple) * multiple
