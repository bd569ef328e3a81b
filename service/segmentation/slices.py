"""The axial slices of a case as networks take them: with neighbours, in windows around the brain."""

from collections.abc import Iterator
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BLOCK = 10  # slices that share a window; it does not follow the slice batch, which may change and must change nothing


class Window(NamedTuple):
    """Rows and columns of a slice."""

    rows: slice
    columns: slice


class AxialSlices:
    """The slices of normalised modalities (4, X, Y, Z) on an LPS grid, each cropped to what its block has of the brain.

    Rows run from anterior to posterior, columns from right to left. `reach` is how many slices away the farthest
    neighbour is that a network sees, `stride` what heights and widths are multiples of.
    """

    def __init__(self, scores: NDArray[np.floating[Any]], reach: int, stride: int, precision: torch.dtype) -> None:
        modalities, columns, rows, depth = scores.shape
        padded = (depth + 2 * reach, modalities, round_up(rows, stride), round_up(columns, stride))
        self._voxels = torch.zeros(padded, dtype=precision).contiguous(memory_format=torch.channels_last)
        self._voxels[reach : reach + depth, :, :rows, :columns] = torch.from_numpy(scores).permute(3, 0, 2, 1)
        self._reach, self._stride = reach, stride
        brain: NDArray[np.bool_] = (self._voxels != 0).any(dim=1).numpy()
        self._rows: NDArray[np.bool_] = np.any(brain, axis=2)  # (Z, Y)
        self._columns: NDArray[np.bool_] = np.any(brain, axis=1)  # (Z, X)
        self.shape = depth, rows, columns  # (Z, Y, X)

    @property
    def with_brain(self) -> NDArray[np.intp]:
        """The slices that are not zero throughout."""
        return np.flatnonzero(self._rows[self._reach : self._reach + self.shape[0]].any(axis=1))

    def blocks(self, indices: NDArray[np.intp]) -> Iterator[tuple[NDArray[np.intp], Window]]:
        """The slices of these indices, block by block, with the window of each block."""
        for block, members in groupby(indices.tolist(), key=lambda index: index // BLOCK):
            yield np.array(list(members)), self._window(block)

    def take(self, indices: NDArray[np.intp], window: Window, offsets: tuple[int, ...]) -> Tensor:
        """Slices (B, offsets * 4, H, W) with their neighbours at these offsets; zeros beyond the case."""
        view = self._voxels[:, :, window.rows, window.columns]
        _, modalities, rows, columns = view.shape
        shape = len(indices), len(offsets) * modalities, rows, columns
        stack = torch.empty(shape, dtype=view.dtype, memory_format=torch.channels_last)
        for share, offset in zip(stack.split(modalities, dim=1), offsets, strict=True):
            share[:] = view[torch.from_numpy(indices + self._reach + offset)]
        return stack

    def _window(self, block: int) -> Window:
        """What holds the brain in the slices of a block and their neighbours."""
        seen = slice(block * BLOCK, (block + 1) * BLOCK + 2 * self._reach)
        return Window(self._extent(self._rows[seen]), self._extent(self._columns[seen]))

    def _extent(self, occupied: NDArray[np.bool_]) -> slice:
        """From the first to the last place (axis 1) that is occupied anywhere, rounded up to the stride."""
        places = np.flatnonzero(occupied.any(axis=0))
        length = round_up(places[-1] + 1 - places[0], self._stride)
        first = min(places[0], occupied.shape[1] - length)
        return slice(first, first + length)


def round_up(length: int, multiple: int) -> int:
    """The least multiple that is not below a length."""
    return -(-length // multiple) * multiple
