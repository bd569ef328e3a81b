"""Random intensity changes (not in the paper): z-scores do not remove all differences between scanners.

Every function takes normalised slices (B, S, 4, H, W), S neighbouring slices of four modalities, and returns the same
shape. The slices of one stack have the same random parameters, the modalities have their own; noise differs in every
pixel. Pixels that are exactly zero, which are outside the brain, stay zero.
"""

import torch
from torch import Tensor
from torch.nn import functional

from model_training.augmentation.random_streams import RandomStreams
from service.imaging.case import Modality

MODALITIES = len(Modality)

MAX_LOG_GAIN = 0.25  # natural logarithm
MAX_OFFSET = 0.25  # standard deviations of the brain

GAMMA_RANGE = (0.5, 2.0)
BLACK = -6.0  # z-score taken as zero intensity for the power law: below any voxel of a brain

BIAS_POINTS = 4  # control points of the field along height and width
BIAS_STRENGTH = 0.15  # standard deviation of the field's natural logarithm
MEAN_INTENSITY = 3.0  # of a brain in its standard deviations: a bias field multiplies intensities, not z-scores

MAX_NOISE = 0.3  # standard deviations of the brain
BLUR_RANGE = (0.5, 1.5)  # sigma in pixels
BLUR_RADIUS = 4

MAX_DROPPED = 2  # modalities
MAX_DROPPED_SHARE = 1 / 3  # of the slices without all modalities, in which so many are missing instead of one


def vary_contrast(slices: Tensor, streams: RandomStreams) -> Tensor:
    """Apply a random gain and offset to each modality."""
    log_gain, offset = (
        _per_modality(streams.uniform(-limit, limit, MODALITIES)) for limit in (MAX_LOG_GAIN, MAX_OFFSET)
    )
    return _within_brain(slices, slices * log_gain.exp() + offset)


def vary_gamma(slices: Tensor, streams: RandomStreams) -> Tensor:
    """Apply a power law to each modality that preserves value and slope at the mean of the brain."""
    low, high = GAMMA_RANGE
    gamma = _per_modality(streams.uniform(low, high, MODALITIES))
    relative = (1 - slices / BLACK).clamp(min=0)
    return _within_brain(slices, -BLACK * (relative**gamma - 1) / gamma)


def add_bias_field(slices: Tensor, streams: RandomStreams) -> Tensor:
    """Multiply the intensities of each modality by a smooth field, as an inhomogeneous receive coil does."""
    field = functional.interpolate(
        streams.normal(MODALITIES, BIAS_POINTS, BIAS_POINTS),
        size=slices.shape[-2:],
        mode="bicubic",
        align_corners=True,
    )
    factor = (BIAS_STRENGTH * field).exp()[:, None]
    return _within_brain(slices, (slices + MEAN_INTENSITY) * factor - MEAN_INTENSITY)


def add_noise(slices: Tensor, streams: RandomStreams) -> Tensor:
    """Add Gaussian noise, with a different random strength for each modality."""
    strength = _per_modality(streams.uniform(0, MAX_NOISE, MODALITIES))
    return _within_brain(slices, slices + strength * streams.normal(*slices.shape[1:]))


def blur(slices: Tensor, streams: RandomStreams) -> Tensor:
    """Blur with a Gaussian within the slice, with a different random width for each modality, like a coarser scan."""
    low, high = BLUR_RANGE
    sigma = streams.uniform(low, high, MODALITIES)
    distance = torch.arange(-BLUR_RADIUS, BLUR_RADIUS + 1, device=sigma.device)
    kernels = (-0.5 * (distance / sigma[..., None]) ** 2).exp()  # (B, 4, K)
    kernels = (kernels / kernels.sum(dim=-1, keepdim=True))[:, None].expand(-1, slices.shape[1], -1, -1)
    kernels = kernels.reshape(-1, 1, 1, distance.numel())
    images = slices.reshape(1, -1, *slices.shape[-2:])
    images = functional.conv2d(images, kernels, padding=(0, BLUR_RADIUS), groups=len(kernels))
    images = functional.conv2d(images, kernels.mT, padding=(BLUR_RADIUS, 0), groups=len(kernels))
    return _within_brain(slices, images.view_as(slices))


def drop_modalities(slices: Tensor, streams: RandomStreams) -> Tensor:
    """Set one or two random modalities to zero, so that the network learns to do without them (modality dropout)."""
    order = streams.uniform(0, 1, MODALITIES).argsort(dim=1)
    count = torch.where(streams.bernoulli(MAX_DROPPED_SHARE), MAX_DROPPED, 1)
    return slices * _per_modality(order >= count[:, None])


def _per_modality(values: Tensor) -> Tensor:
    """Reshape values (B, 4) so that they broadcast against slices (B, S, 4, H, W)."""
    return values[:, None, :, None, None]


def _within_brain(slices: Tensor, changed: Tensor) -> Tensor:
    return torch.where(slices != 0, changed, 0)
