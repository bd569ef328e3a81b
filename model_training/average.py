"""The moving average of a network's weights, which is what a run keeps."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Update = Callable[[Sequence[Tensor], Sequence[Tensor], Tensor | int], None]


def growing_average(decay: float) -> Update:
    """How torch's AveragedModel shall follow: exponentially, with a memory that grows to that of `decay`.

    A memory that is long from the start would carry the first random weights along for thousands of steps.
    """

    @torch.no_grad()
    def update(averages: Sequence[Tensor], values: Sequence[Tensor], steps: Tensor | int) -> None:
        current_decay = min(decay, (1 + int(steps)) / (10 + int(steps)))
        for average, value in zip(averages, values, strict=True):
            if average.is_floating_point():
                average.lerp_(value, 1 - current_decay)
            else:
                average.copy_(value)  # batch normalisation's count of batches

    return update
