"""Random numbers that belong to a slice and its copy, not to the batch that it happens to be in."""

from collections.abc import Sequence
from hashlib import blake2b

import torch
from torch import Tensor


def stream_seed(seed: int, slice_name: str, copy: int) -> int:
    """The seed of the random numbers of one copy of one slice, the same on every machine and in every batch."""
    return int.from_bytes(blake2b(f"{seed} {slice_name} {copy}".encode(), digest_size=7).digest())


class Draws:
    """Draws for a batch, each slice from a stream of its own; drawn on the CPU, so that every device gets the same."""

    def __init__(self, seeds: Sequence[int], device: torch.device | None = None) -> None:
        self._streams = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.device = device

    def of(self, chosen: Tensor) -> "Draws":
        """The draws of the chosen slices, (B,) bool, alone; they go on with the same streams."""
        part = Draws([], self.device)
        part._streams = [stream for stream, is_chosen in zip(self._streams, chosen.tolist(), strict=True) if is_chosen]
        return part

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Uniform numbers (B, *shape)."""
        drawn = torch.stack([torch.rand(shape, generator=stream) for stream in self._streams])
        return (low + (high - low) * drawn).to(self.device)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers (B, *shape)."""
        return torch.stack([torch.randn(shape, generator=stream) for stream in self._streams]).to(self.device)

    def chance(self, probability: float) -> Tensor:
        """Whether an event of this probability happens, (B,) bool."""
        return self.uniform(0, 1) < probability
