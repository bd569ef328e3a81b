"""Random intensities, beyond the paper: scanners differ more than the z-score evens out.

Every function takes normalised slices (B, S, 4, H, W), S neighbouring slices of four modalities, and gives as many;
the slices of one stack change alike, each modality by itself, and what is exactly zero, outside the brain, stays so.
"""

import torch
from torch import Tensor
from torch.nn import functional

from model_training.augmentation.draws import Draws
from service.segmentation.case import Modality

MODALITIES = len(Modality)

MAX_GAIN = 0.25  # natural logarithm
MAX_OFFSET = 0.25  # standard deviations of the brain

GAMMA_RANGE = (0.5, 2.0)
BLACK = -6.0  # the z-score that a power law takes for zero intensity: below any voxel of a brain

BIAS_POINTS = 4  # along height and width: a field's free values
BIAS_STRENGTH = 0.15  # standard deviation of the field's natural logarithm
MEAN_INTENSITY = 3.0  # of a brain in its standard deviations: a bias field multiplies intensities, not z-scores

MAX_NOISE = 0.3  # standard deviations of the brain
BLUR_RANGE = (0.5, 1.5)  # sigma in pixels
BLUR_RADIUS = 4


def vary_contrast(slices: Tensor, draws: Draws) -> Tensor:
    """A gain and an offset for each modality."""
    gain, offset = (_each_modality(draws.uniform(-limit, limit, MODALITIES)) for limit in (MAX_GAIN, MAX_OFFSET))
    return _within_brain(slices, slices * gain.exp() + offset)


def vary_gamma(slices: Tensor, draws: Draws) -> Tensor:
    """A power law for each modality, which leaves value and slope at the brain's mean as they are."""
    low, high = GAMMA_RANGE
    gamma = _each_modality(draws.uniform(low, high, MODALITIES))
    relative = (1 - slices / BLACK).clamp(min=0)
    return _within_brain(slices, -BLACK * (relative**gamma - 1) / gamma)


def add_bias_field(slices: Tensor, draws: Draws) -> Tensor:
    """A smooth field that multiplies each modality's intensities, as an uneven coil does."""
    field = functional.interpolate(
        draws.normal(MODALITIES, BIAS_POINTS, BIAS_POINTS),
        size=slices.shape[-2:],
        mode="bicubic",
        align_corners=True,
    )
    factor = (BIAS_STRENGTH * field).exp()[:, None]
    return _within_brain(slices, (slices + MEAN_INTENSITY) * factor - MEAN_INTENSITY)


def add_noise(slices: Tensor, draws: Draws) -> Tensor:
    """Gaussian noise, of another strength in each modality."""
    strength = _each_modality(draws.uniform(0, MAX_NOISE, MODALITIES))
    return _within_brain(slices, slices + strength * draws.normal(*slices.shape[1:]))


def blur(slices: Tensor, draws: Draws) -> Tensor:
    """A Gaussian blur within the slice, of another width in each modality, as of a coarser scan."""
    low, high = BLUR_RANGE
    sigma = draws.uniform(low, high, MODALITIES)
    distance = torch.arange(-BLUR_RADIUS, BLUR_RADIUS + 1, device=sigma.device)
    kernels = (-0.5 * (distance / sigma[..., None]) ** 2).exp()  # (B, 4, K)
    kernels = (kernels / kernels.sum(dim=-1, keepdim=True))[:, None].expand(-1, slices.shape[1], -1, -1)
    kernels = kernels.reshape(-1, 1, 1, distance.numel())
    images = slices.reshape(1, -1, *slices.shape[-2:])
    images = functional.conv2d(images, kernels, padding=(0, BLUR_RADIUS), groups=len(kernels))
    images = functional.conv2d(images, kernels.mT, padding=(BLUR_RADIUS, 0), groups=len(kernels))
    return _within_brain(slices, images.view_as(slices))


def _each_modality(values: Tensor) -> Tensor:
    """Values (B, 4) to be multiplied with slices (B, S, 4, H, W)."""
    return values[:, None, :, None, None]


def _within_brain(slices: Tensor, changed: Tensor) -> Tensor:
    return torch.where(slices != 0, changed, 0)
