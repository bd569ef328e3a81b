"""Table I of the paper: nine spatial transforms of a slice, composed into one sampling grid and one interpolation."""

from functools import lru_cache
from math import pi

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from model_training.augmentation.random_streams import RandomStreams

FLIP_PROBABILITY = 0.5
MAX_SHIFT = 0.1  # fraction of the slice's height and width
MAX_SCALE = 0.1
MAX_SHEAR = 0.05
MAX_ROTATION = 15 * pi / 180
ELASTIC_ALPHA = 600.0  # scales the smoothed noise to displacements of about 3 pixels
ELASTIC_SIGMA = 30.0  # pixels
MIN_SINGULAR_VALUE = 1e-3  # of the Gaussian filter; weaker modes are discarded


def random_sampling_grid(
    patch_size: tuple[int, int], slice_shape: tuple[int, int], elastic: bool, streams: RandomStreams
) -> Tensor:
    """Draw a sampling grid with random flip, shift, scale, shear, rotation and, optionally, elastic deformation.

    A sampling grid (B, 2, H, W) holds for each pixel of a patch (H, W) the position in the slice to sample: (x, y),
    each from -1 to 1 across the slice.
    """
    affine, shift = random_affine(slice_shape, streams)
    coordinates = centred_coordinates(patch_size).to(affine.device).expand(len(affine), -1, -1, -1)
    if elastic:
        coordinates = random_displacement(patch_size, streams).add_(coordinates)
    return apply_affine(affine, shift, coordinates, slice_shape)


def random_affine(slice_shape: tuple[int, int], streams: RandomStreams) -> tuple[Tensor, Tensor]:
    """Draw matrices (B, 2, 2) on (x, y), with flip, scale, shear and rotation, and shifts (B, 2) in pixels."""
    height, width = slice_shape
    flip = 1 - 2 * streams.bernoulli(FLIP_PROBABILITY).float()
    scale = streams.uniform(1 - MAX_SCALE, 1 + MAX_SCALE, 2)
    shear = streams.uniform(-MAX_SHEAR, MAX_SHEAR, 2)
    angle = streams.uniform(-MAX_ROTATION, MAX_ROTATION)
    shift = streams.uniform(-MAX_SHIFT, MAX_SHIFT, 2) * torch.tensor([width, height], device=scale.device)
    one = torch.ones_like(angle)
    flips = torch.diag_embed(torch.stack([flip, one], dim=1))
    scales = torch.diag_embed(scale)
    shears = torch.stack([one, shear[:, 0], shear[:, 1], one], dim=1).view(-1, 2, 2)
    rotations = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], dim=1).view(-1, 2, 2)
    return flips @ scales @ shears @ rotations, shift


def apply_affine(affine: Tensor, shift: Tensor, coordinates: Tensor, slice_shape: tuple[int, int]) -> Tensor:
    """Apply matrices (B, 2, 2) and shifts (B, 2) to coordinates (B, 2, H, W) in pixels; return the sampling grid."""
    height, width = slice_shape
    relative = torch.tensor([2 / width, 2 / height], device=affine.device)[:, None]
    return torch.baddbmm(shift[..., None] * relative, affine * relative, coordinates.flatten(2)).view_as(coordinates)


def random_displacement(patch_size: tuple[int, int], streams: RandomStreams) -> Tensor:
    """Draw an elastic displacement (B, 2, H, W) in pixels (Simard et al. 2003).

    The method: uniform noise between -1 and 1 at each pixel, smoothed by a Gaussian of ELASTIC_SIGMA, times
    ELASTIC_ALPHA. A filter this wide passes only a few modes along each axis, and the coefficients of these modes are
    normally distributed with the variance of the noise, 1/3. So this draws the coefficients and filters no pixels.
    """
    modes_y, modes_x = (gaussian_filter_modes(length).to(streams.device) for length in patch_size)  # (H, R), (W, S)
    coefficients = streams.normal(2, modes_y.shape[1], modes_x.shape[1]) / 3**0.5
    return ELASTIC_ALPHA * modes_y @ coefficients @ modes_x.T


@lru_cache
def gaussian_filter_modes(length: int) -> Tensor:
    """Modes (length, R) of a Gaussian filter of ELASTIC_SIGMA along an axis with reflecting ends.

    These are the left singular vectors of the filter, each scaled by its singular value. Modes below
    MIN_SINGULAR_VALUE are discarded, which changes each displacement by at most a few hundredths of a pixel.
    """
    gaussian_filter = torch.from_numpy(ndimage.gaussian_filter1d(np.eye(length), ELASTIC_SIGMA, axis=0))
    vectors, singular_values, _ = torch.linalg.svd(gaussian_filter)
    modes: Tensor = vectors * singular_values
    return modes[:, singular_values > MIN_SINGULAR_VALUE].float()


def interpolate(images: Tensor, sampling_grid: Tensor, mode: str) -> Tensor:
    """Interpolate images (B, C, Y, X) at a sampling grid (B, 2, H, W), `bilinear` or `nearest`; zero outside them."""
    grid = sampling_grid.permute(0, 2, 3, 1)
    return functional.grid_sample(images, grid, mode=mode, padding_mode="zeros", align_corners=False)


def centred_coordinates(patch_size: tuple[int, int]) -> Tensor:
    """Coordinates (x, y) of each pixel of a patch (H, W), in pixels from its centre, (2, H, W)."""
    y, x = torch.meshgrid(*(torch.arange(length) - (length - 1) / 2 for length in patch_size), indexing="ij")
    return torch.stack([x, y])
