"""Exponential moving average (EMA) of a network's weights, which a run validates and saves."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Update = Callable[[Sequence[Tensor], Sequence[Tensor], Tensor | int], None]


def ema_update(decay: float) -> Update:
    """Return the update function for torch's AveragedModel: an EMA with a decay that rises to `decay`.

    With the full decay from the first step, the random initial weights would influence the average for thousands of
    steps.
    """

    @torch.no_grad()
    def update(averages: Sequence[Tensor], values: Sequence[Tensor], steps: Tensor | int) -> None:
        current_decay = min(decay, (1 + int(steps)) / (10 + int(steps)))
        for average, value in zip(averages, values, strict=True):
            if average.is_floating_point():
                average.lerp_(value, 1 - current_decay)
            else:
                average.copy_(value)  # the batch counter of batch normalisation

    return update
