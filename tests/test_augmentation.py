from math import pi

import numpy as np
import pytest
import torch
from scipy import ndimage
from tiny import RECIPE, change
from torch.nn import functional

from model_training.augmentation import INTENSITY, augment
from model_training.augmentation.random_streams import RandomStreams, stream_seed
from model_training.augmentation.spatial import (
    ELASTIC_ALPHA,
    ELASTIC_SIGMA,
    apply_affine,
    centred_coordinates,
    gaussian_filter_modes,
    interpolate,
    random_affine,
    random_displacement,
    random_sampling_grid,
)
from model_training.augmentation.transplant import transplant
from service.networks.crop import crop_or_pad

PATCH_SIZE = (48, 64)
TABLE_I = change(RECIPE, "augmentation", spatial=True, elastic=True, contrast=0).augmentation
EVERYTHING = change(RECIPE, "augmentation", elastic=True, **dict.fromkeys(INTENSITY, 1.0)).augmentation


def streams(count, copy=0):
    return RandomStreams([stream_seed(1, f"slice {number}", copy) for number in range(count)])


def brains(count, channels=4):
    """Smooth random brains in a disc, zero outside it."""
    x, y = centred_coordinates(PATCH_SIZE)
    noise = torch.randn(count, channels, *PATCH_SIZE, generator=torch.Generator().manual_seed(0))
    smooth = functional.avg_pool2d(noise, 5, stride=1, padding=2) * 5
    return torch.where(x**2 + y**2 < 20**2, smooth, 0)


def test_a_copy_does_not_depend_on_its_batch_and_differs_from_the_next_copy():
    slices, labels = brains(3), (brains(3, channels=1) > 0.5).float()
    together = augment(slices, labels, PATCH_SIZE, EVERYTHING, streams(3))
    alone = augment(slices[2:], labels[2:], PATCH_SIZE, EVERYTHING, RandomStreams([stream_seed(1, "slice 2", 0)]))
    torch.testing.assert_close(together[0][2:], alone[0], rtol=1e-4, atol=1e-4)
    assert torch.equal(together[1][2:], alone[1])
    assert not torch.equal(together[0], augment(slices, labels, PATCH_SIZE, EVERYTHING, streams(3, copy=1))[0])


def test_images_and_labels_move_together_and_pixels_outside_the_brain_stay_zero():
    disc = (centred_coordinates(PATCH_SIZE).square().sum(dim=0) < 100).float().expand(8, 1, -1, -1)
    slices, labels = augment(5 * disc.expand(-1, 4, -1, -1), 2 * disc, PATCH_SIZE, TABLE_I, streams(8))
    assert not torch.equal(labels, 2 * disc)
    assert set(labels.unique().tolist()) == {0, 2}
    inside = (slices > 2.5).all(dim=1, keepdim=True)
    assert (inside & (labels > 0)).sum() / (labels > 0).sum() > 0.9
    assert (inside & (labels > 0)).sum() / inside.sum() > 0.9
    assert (slices[:, :, 0, 0] == 0).all()


def test_random_transforms_cover_the_ranges_of_table_1_and_do_not_exceed_them():
    affine, shift = random_affine((100, 200), streams(2000))
    x, y = shift.abs().max(dim=0).values
    assert 0.99 * 20 < x <= 20
    assert 0.99 * 10 < y <= 10
    flipped = torch.linalg.det(affine) < 0
    assert 0.45 < flipped.float().mean() < 0.55
    matrices = torch.where(flipped[:, None, None], torch.diag(torch.tensor([-1.0, 1.0])) @ affine, affine)
    stretch = torch.linalg.svdvals(matrices)
    assert 1.1 < stretch.max() < 1.1 * 1.05 + 0.01
    assert 0.9 * 0.95 - 0.01 < stretch.min() < 0.9
    left, _, right = torch.linalg.svd(matrices)
    rotation = left @ right
    angle = torch.atan2(rotation[:, 1, 0], rotation[:, 0, 0]).abs().max() * 180 / pi
    assert 14 < angle < 15 + 4  # shears of 0.05 rotate by up to 3 degrees more


def sampling_grid_of(affine, shift):
    coordinates = centred_coordinates(PATCH_SIZE).expand(len(affine), -1, -1, -1)
    return apply_affine(affine, shift, coordinates, PATCH_SIZE)


def test_a_rotation_by_180_degrees_flips_both_axes():
    image = brains(1)
    rotated = interpolate(image, sampling_grid_of(-torch.eye(2)[None], torch.zeros(1, 2)), "bilinear")
    torch.testing.assert_close(rotated, image.flip(2, 3), rtol=1e-4, atol=1e-4)


def test_a_shift_by_whole_pixels_preserves_values():
    image = brains(1)
    moved = interpolate(image, sampling_grid_of(torch.eye(2)[None], torch.tensor([[3.0, -2.0]])), "bilinear")
    torch.testing.assert_close(moved[..., 2:, :-3], image[..., :-2, 3:], rtol=1e-4, atol=1e-4)


def test_interpolation_equals_that_of_scipy():
    images = torch.randn(1, 4, *PATCH_SIZE, generator=torch.Generator().manual_seed(0))
    grid = random_sampling_grid(PATCH_SIZE, PATCH_SIZE, True, streams(1))
    y, x = ((grid[0].flip(0) + 1) * torch.tensor(PATCH_SIZE).view(2, 1, 1) - 1) / 2
    for mode, order in (("bilinear", 1), ("nearest", 0)):
        expected = [ndimage.map_coordinates(image, [y, x], order=order, mode="grid-constant") for image in images[0]]
        equal = np.isclose(interpolate(images, grid, mode)[0], expected, atol=1e-3)
        assert equal.mean() > 0.999  # of order 0, positions halfway between two pixels may differ


def test_gaussian_filter_modes_reproduce_the_gaussian_filter():
    noise = np.random.default_rng(0).uniform(-1, 1, 200)
    modes = gaussian_filter_modes(200).numpy()
    unit = modes / np.linalg.norm(modes, axis=0)
    filtered = ndimage.gaussian_filter1d(noise, ELASTIC_SIGMA)
    assert np.allclose(modes @ (unit.T @ noise), filtered, atol=2e-3 * np.abs(filtered).max())


def test_elastic_displacements_have_the_variance_of_filtered_noise():
    noises = np.random.default_rng(0).uniform(-1, 1, (100, 192, 160))
    filtered = [ELASTIC_ALPHA * ndimage.gaussian_filter(noise, ELASTIC_SIGMA) for noise in noises]
    displacement = random_displacement((192, 160), streams(100)).numpy()
    assert displacement.std() == pytest.approx(np.std(filtered), rel=0.1)
    spread = np.std(filtered, axis=0)  # larger at the edges, where reflection counts the noise twice
    assert np.allclose(displacement.std(axis=(0, 1)), spread, rtol=0.5)
    assert np.corrcoef(displacement.std(axis=(0, 1)).ravel(), spread.ravel())[0, 1] > 0.5


def test_one_interpolation_preserves_more_detail_than_two():
    image = torch.randn(4, 1, *PATCH_SIZE, generator=torch.Generator().manual_seed(0))
    first = random_sampling_grid(PATCH_SIZE, PATCH_SIZE, False, streams(4, copy=1))
    second = sampling_grid_of(*random_affine(PATCH_SIZE, streams(4, copy=2)))
    sequential = interpolate(interpolate(image, first, "bilinear"), second, "bilinear")
    composed = interpolate(image, interpolate(first, second, "bilinear"), "bilinear")
    middle = (..., slice(12, 36), slice(16, 48))
    assert high_frequency_power(composed[middle]) > 1.2 * high_frequency_power(sequential[middle])


def high_frequency_power(images):
    """Power above half of the Nyquist frequency."""
    power = torch.fft.fft2(images).abs().square()
    y, x = (torch.fft.fftfreq(length).abs() for length in images.shape[-2:])
    return power[..., (y[:, None] > 0.25) | (x > 0.25)].sum()


def test_without_spatial_augmentation_the_patch_is_the_centre_of_the_slice():
    slices, labels = brains(2), brains(2, channels=1)
    plain = change(RECIPE, "augmentation", spatial=False, contrast=0).augmentation
    patches, patch_labels = augment(slices, labels, (32, 32), plain, streams(2))
    assert torch.equal(patches, slices[..., 8:40, 16:48])
    assert torch.equal(patch_labels, labels[..., 8:40, 16:48])


def test_a_patch_larger_than_the_slice_is_padded_with_zeros():
    image = torch.arange(1.0, 16).view(1, 1, 3, 5)
    padded = crop_or_pad(image, (4, 8))
    assert padded.shape == (1, 1, 4, 8)
    assert torch.equal(padded[..., :3, 1:6], image)
    assert padded.sum() == image.sum()


@pytest.mark.parametrize("name", INTENSITY)
def test_intensity_changes_keep_zeros_and_treat_neighbouring_slices_alike(name):
    slices = brains(2)
    stacks = torch.stack([slices, slices], dim=1)  # two identical neighbours
    changed = INTENSITY[name](stacks, streams(2))
    assert not torch.equal(changed, stacks)
    assert (changed[stacks == 0] == 0).all()
    assert torch.isfinite(changed).all()
    if name != "noise":
        torch.testing.assert_close(changed[:, 0], changed[:, 1])


def test_gamma_preserves_the_mean_intensity_and_the_order_of_intensities():
    ramp = torch.linspace(-3, 5, 65).expand(1, 1, 4, 1, 65).contiguous()
    changed = INTENSITY["gamma"](ramp, streams(1))
    assert (changed.diff(dim=-1) > 0).all()
    near_zero = ramp[0, 0, 0, 0].abs() < 0.2
    torch.testing.assert_close(changed[..., near_zero], ramp[..., near_zero], atol=0.02, rtol=0)
    assert not torch.allclose(changed, ramp, atol=0.1)


def test_a_change_is_applied_with_the_probability_of_the_recipe():
    slices = brains(400)
    recipe = change(RECIPE, "augmentation", spatial=False, contrast=0, noise=0.25).augmentation
    changed, _ = augment(slices, torch.zeros(400, 1, *PATCH_SIZE), PATCH_SIZE, recipe, streams(400))
    fraction = (changed != slices).flatten(1).any(dim=1).float().mean()
    assert 0.18 < fraction < 0.32


def test_a_transplant_copies_only_the_tumour_of_the_donor():
    host, donor = brains(1)[0], brains(2)[1]
    host_labels, donor_labels = torch.zeros(1, *PATCH_SIZE), torch.zeros(1, *PATCH_SIZE)
    donor_labels[0, 15:25, 28:44] = 4
    donor_labels[0, :3] = 2  # outside the host's brain
    slices, labels = transplant(host, host_labels, donor, donor_labels)
    assert torch.equal(labels[0, 15:25, 28:44], donor_labels[0, 15:25, 28:44])
    assert labels.sum() == 4 * 10 * 16
    assert torch.equal(slices[:, 15:25, 28:44], donor[:, 15:25, 28:44])
    far = torch.ones(PATCH_SIZE, dtype=torch.bool)
    far[12:28, 25:47] = False
    assert torch.equal(slices[:, far], host[:, far])
