"""Random augmentation of a batch: each modality's contrast, then one coordinate map a slice, one interpolation."""

from math import pi

import torch
from torch import Tensor
from torch.nn import functional

# Table I of the paper, without shear and elastic deformation.
FLIP_PROBABILITY = 0.5
MAX_SHIFT = 0.1  # of height and width
MAX_SCALE = 0.1
MAX_ROTATION = 15 * pi / 180

# Beyond the paper: scanners differ more than the z-score evens out.
MAX_GAIN = 0.25  # natural logarithm
MAX_OFFSET = 0.25  # in standard deviations of the brain


def augment(slices: Tensor, masks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Other contrasts for slices (B, 4, H, W), then the same map for them, linear, and masks (B, 1, H, W), nearest."""
    slices = _vary_contrast(slices, generator)
    maps = _random_maps(len(slices), slices.shape[-2] / slices.shape[-1], generator).to(slices.device)
    grid = functional.affine_grid(maps, list(slices.shape), align_corners=False)
    return (
        functional.grid_sample(slices, grid, mode="bilinear", padding_mode="zeros", align_corners=False),
        functional.grid_sample(masks, grid, mode="nearest", padding_mode="zeros", align_corners=False),
    )


def _vary_contrast(slices: Tensor, generator: torch.Generator) -> Tensor:
    """A random gain and offset for each modality of each slice; what is outside the brain stays zero."""
    count = slices.shape[0] * slices.shape[1]
    gain, offset = (
        _uniform(count, limit, generator).view(*slices.shape[:2], 1, 1).to(slices.device)
        for limit in (MAX_GAIN, MAX_OFFSET)
    )
    return torch.where(slices != 0, slices * gain.exp() + offset, 0)


def _random_maps(count: int, aspect: float, generator: torch.Generator) -> Tensor:
    """Affine maps (B, 2, 3) from output to input coordinates, both -1 to 1 across the slice; aspect is H / W."""
    angle = _uniform(count, MAX_ROTATION, generator)
    scale_x, scale_y = 1 + _uniform(count, MAX_SCALE, generator), 1 + _uniform(count, MAX_SCALE, generator)
    flip = torch.where(torch.rand(count, generator=generator) < FLIP_PROBABILITY, -1.0, 1.0)
    shift_x, shift_y = 2 * _uniform(count, MAX_SHIFT, generator), 2 * _uniform(count, MAX_SHIFT, generator)
    # The aspect keeps the rotation rigid: coordinates are relative to a height and width that differ.
    row_x = torch.stack([flip * scale_x * angle.cos(), -flip * scale_x * angle.sin() * aspect, shift_x], dim=1)
    row_y = torch.stack([scale_y * angle.sin() / aspect, scale_y * angle.cos(), shift_y], dim=1)
    return torch.stack([row_x, row_y], dim=1)


def _uniform(count: int, limit: float, generator: torch.Generator) -> Tensor:
    return (2 * torch.rand(count, generator=generator) - 1) * limit
