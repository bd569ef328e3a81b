"""Table I of the paper: nine spatial transforms of a slice, composed into one coordinate map, interpolated once."""

from functools import lru_cache
from math import pi

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from model_training.augmentation.draws import Draws

FLIP_PROBABILITY = 0.5
MAX_SHIFT = 0.1  # of the slice's height and width
MAX_SCALE = 0.1
MAX_SHEAR = 0.05
MAX_ROTATION = 15 * pi / 180
ELASTIC_ALPHA = 600.0  # factor on the smoothed noise, which gives displacements of about 3 pixels
ELASTIC_SIGMA = 30.0  # pixels
WEAKEST_WAVE = 1e-3  # of what it was before the filter


def random_map(frame: tuple[int, int], slice_shape: tuple[int, int], elastic: bool, draws: Draws) -> Tensor:
    """A map of random flip, shift, scale, shear, rotation and, if wanted, elastic deformation.

    A map (B, 2, H, W) says for each pixel of a frame (H, W) where in the slice it comes from: (x, y), from -1 to 1
    across the slice.
    """
    affine, shift = random_affine(slice_shape, draws)
    coordinates = centred_grid(frame).to(affine.device).expand(len(affine), -1, -1, -1)
    if elastic:
        coordinates = random_displacement(frame, draws).add_(coordinates)
    return apply_affine(affine, shift, coordinates, slice_shape)


def random_affine(slice_shape: tuple[int, int], draws: Draws) -> tuple[Tensor, Tensor]:
    """Matrices (B, 2, 2) on (x, y), of flip, scale, shear and rotation, and shifts (B, 2) in pixels."""
    height, width = slice_shape
    flip = 1 - 2 * draws.chance(FLIP_PROBABILITY).float()
    scale = draws.uniform(1 - MAX_SCALE, 1 + MAX_SCALE, 2)
    shear = draws.uniform(-MAX_SHEAR, MAX_SHEAR, 2)
    angle = draws.uniform(-MAX_ROTATION, MAX_ROTATION)
    shift = draws.uniform(-MAX_SHIFT, MAX_SHIFT, 2) * torch.tensor([width, height], device=scale.device)
    one = torch.ones_like(angle)
    flips = torch.diag_embed(torch.stack([flip, one], dim=1))
    scales = torch.diag_embed(scale)
    shears = torch.stack([one, shear[:, 0], shear[:, 1], one], dim=1).view(-1, 2, 2)
    rotations = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], dim=1).view(-1, 2, 2)
    return flips @ scales @ shears @ rotations, shift


def apply_affine(affine: Tensor, shift: Tensor, coordinates: Tensor, slice_shape: tuple[int, int]) -> Tensor:
    """The map (B, 2, H, W) of coordinates (B, 2, H, W) in pixels after matrices (B, 2, 2) and shifts (B, 2)."""
    height, width = slice_shape
    relative = torch.tensor([2 / width, 2 / height], device=affine.device)[:, None]
    return torch.baddbmm(shift[..., None] * relative, affine * relative, coordinates.flatten(2)).view_as(coordinates)


def random_displacement(frame: tuple[int, int], draws: Draws) -> Tensor:
    """An elastic displacement (B, 2, H, W) in pixels (Simard et al. 2003).

    Uniform noise between -1 and 1 at each pixel, smoothed by a Gaussian of ELASTIC_SIGMA, times ELASTIC_ALPHA. So wide
    a filter leaves but a few waves along each axis, and the strength of each in such noise is normal with the noise's
    variance of 1/3; so these are drawn, and no pixel is filtered.
    """
    waves_y, waves_x = (smooth_waves(length).to(draws.device) for length in frame)  # (H, R), (W, S)
    strengths = draws.normal(2, waves_y.shape[1], waves_x.shape[1]) / 3**0.5
    return ELASTIC_ALPHA * waves_y @ strengths @ waves_x.T


@lru_cache
def smooth_waves(length: int) -> Tensor:
    """What a Gaussian filter of ELASTIC_SIGMA, mirrored at the ends, leaves of an axis: waves (length, R).

    They are the filter's orthogonal parts, each times what the filter leaves of it; the weakest are left out, which
    moves no pixel by more than a few hundredths.
    """
    filtered = torch.from_numpy(ndimage.gaussian_filter1d(np.eye(length), ELASTIC_SIGMA, axis=0))
    waves, remaining, _ = torch.linalg.svd(filtered)
    smoothed: Tensor = waves * remaining
    return smoothed[:, remaining > WEAKEST_WAVE].float()


def sample(images: Tensor, coordinates: Tensor, mode: str) -> Tensor:
    """Images (B, C, Y, X) interpolated, `bilinear` or `nearest`, at a map (B, 2, H, W); zero beyond their edges."""
    grid = coordinates.permute(0, 2, 3, 1)
    return functional.grid_sample(images, grid, mode=mode, padding_mode="zeros", align_corners=False)


def centred_grid(frame: tuple[int, int]) -> Tensor:
    """The (x, y) of each pixel of a frame (H, W) in pixels from its centre, (2, H, W)."""
    y, x = torch.meshgrid(*(torch.arange(length) - (length - 1) / 2 for length in frame), indexing="ij")
    return torch.stack([x, y])
