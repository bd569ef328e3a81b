"""The speed of the augmentation of Table I in batches with torch, compared with scipy slice by slice.

PYTHONPATH=tests python -m benchmarks.augmentation
"""

import sys
from collections.abc import Callable
from statistics import median
from time import perf_counter

import numpy as np
import torch
from scipy import ndimage

from model_training.augmentation.random_streams import RandomStreams, stream_seed
from model_training.augmentation.spatial import (
    ELASTIC_ALPHA,
    ELASTIC_SIGMA,
    interpolate,
    random_affine,
    random_sampling_grid,
)

SHAPE = (240, 240)  # a BraTS slice
BATCH = 10
RUNS = 7
MIN_RATIO = 20


def main() -> None:
    """Print the seconds per slice of both methods; fail if the ratio is below the limit."""
    generator = torch.Generator().manual_seed(0)
    slices = torch.randn(BATCH, 4, *SHAPE, generator=generator)
    labels = (torch.rand(BATCH, 1, *SHAPE, generator=generator) > 0.5).float()
    batched(slices, labels)  # warm-up
    ratios = []
    for _ in range(RUNS):  # alternating, so that other load affects both alike
        torch_s, scipy_s = seconds(batched, slices, labels), seconds(one_by_one, slices, labels)
        ratios.append(scipy_s / torch_s)
        print(f"torch {1000 * torch_s:6.2f} ms per slice, scipy {1000 * scipy_s:6.1f} ms, ratio {ratios[-1]:.1f}")
    print(f"median ratio {median(ratios):.1f} (limit: {MIN_RATIO}), {torch.get_num_threads()} threads")
    sys.exit(median(ratios) < MIN_RATIO)


def seconds(
    augment: Callable[[torch.Tensor, torch.Tensor], object], slices: torch.Tensor, labels: torch.Tensor
) -> float:
    """The seconds per slice."""
    started = perf_counter()
    augment(slices, labels)
    return (perf_counter() - started) / BATCH


def batched(slices: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The method of model_training."""
    streams = RandomStreams([stream_seed(0, f"slice {number}", 0) for number in range(BATCH)])
    grid = random_sampling_grid(SHAPE, SHAPE, True, streams)
    return interpolate(slices, grid, "bilinear"), interpolate(labels, grid, "nearest")


def one_by_one(slices: torch.Tensor, labels: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The usual method: a Gaussian filter and coordinates for each slice, an interpolation for each channel."""
    affines, shifts = random_affine(SHAPE, RandomStreams(range(BATCH)))
    random = np.random.default_rng(0)
    images, masks = np.empty(slices.shape, np.float32), np.empty(labels.shape, np.float32)
    middle = (np.array(SHAPE[::-1]) - 1) / 2
    y, x = np.meshgrid(*(np.arange(length) for length in SHAPE), indexing="ij")
    for number in range(BATCH):
        field = [
            ELASTIC_ALPHA * ndimage.gaussian_filter(noise, ELASTIC_SIGMA)
            for noise in random.uniform(-1, 1, (2, *SHAPE))
        ]
        moved = np.stack([x - middle[0] + field[0], y - middle[1] + field[1]])
        moved = np.tensordot(affines[number].numpy(), moved, axes=1) + shifts[number].numpy()[:, None, None]
        coordinates = (moved + middle[:, None, None])[::-1]
        for channel in range(4):
            images[number, channel] = ndimage.map_coordinates(
                slices[number, channel].numpy(), coordinates, order=1, mode="grid-constant"
            )
        masks[number, 0] = ndimage.map_coordinates(
            labels[number, 0].numpy(), coordinates, order=0, mode="grid-constant"
        )
    return images, masks


if __name__ == "__main__":
    main()
