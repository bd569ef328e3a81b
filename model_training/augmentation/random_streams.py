"""Random numbers that depend on the slice and its copy, not on the batch that contains it."""

from collections.abc import Sequence
from hashlib import blake2b

import torch
from torch import Tensor


def stream_seed(seed: int, slice_name: str, copy: int) -> int:
    """Seed for the random numbers of one copy of one slice, or of one epoch; the same on every machine."""
    return int.from_bytes(blake2b(f"{seed} {slice_name} {copy}".encode(), digest_size=7).digest())


class RandomStreams:
    """Random numbers for a batch, with a separate generator for each slice.

    They are generated on the CPU, so that every device gets the same numbers.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device | None = None) -> None:
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.device = device

    def select(self, mask: Tensor) -> "RandomStreams":
        """Return the streams of the slices that a mask (B,) selects; they share their state with these."""
        selected = RandomStreams([], self.device)
        selected._generators = [
            generator for generator, is_selected in zip(self._generators, mask.tolist(), strict=True) if is_selected
        ]
        return selected

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Uniform random numbers (B, *shape)."""
        values = torch.stack([torch.rand(shape, generator=generator) for generator in self._generators])
        return (low + (high - low) * values).to(self.device)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal random numbers (B, *shape)."""
        return torch.stack([torch.randn(shape, generator=generator) for generator in self._generators]).to(self.device)

    def bernoulli(self, probability: float) -> Tensor:
        """Random booleans (B,), true with the given probability."""
        return self.uniform(0, 1) < probability
