from math import pi

import numpy as np
import pytest
import torch
from scipy import ndimage
from tiny import RECIPE, change
from torch.nn import functional

from model_training.augmentation import INTENSITY, augment, cut
from model_training.augmentation.draws import Draws, stream_seed
from model_training.augmentation.spatial import (
    ELASTIC_ALPHA,
    ELASTIC_SIGMA,
    apply_affine,
    centred_grid,
    random_affine,
    random_displacement,
    random_map,
    sample,
    smooth_waves,
)
from model_training.augmentation.transplant import transplant

FRAME = (48, 64)
TABLE_I = change(RECIPE, "augmentation", spatial=True, elastic=True, contrast=0).augmentation
EVERYTHING = change(RECIPE, "augmentation", elastic=True, **dict.fromkeys(INTENSITY, 1.0)).augmentation


def draws(count, copy=0):
    return Draws([stream_seed(1, f"slice {number}", copy) for number in range(count)])


def brains(count, channels=4):
    """Smooth random brains in a disc, zero around it."""
    x, y = centred_grid(FRAME)
    noise = torch.randn(count, channels, *FRAME, generator=torch.Generator().manual_seed(0))
    smooth = functional.avg_pool2d(noise, 5, stride=1, padding=2) * 5
    return torch.where(x**2 + y**2 < 20**2, smooth, 0)


def test_a_copy_is_the_same_in_every_batch_and_another_than_the_next():
    slices, labels = brains(3), (brains(3, channels=1) > 0.5).float()
    together = augment(slices, labels, FRAME, EVERYTHING, draws(3))
    alone = augment(slices[2:], labels[2:], FRAME, EVERYTHING, Draws([stream_seed(1, "slice 2", 0)]))
    torch.testing.assert_close(together[0][2:], alone[0], rtol=1e-4, atol=1e-4)
    assert torch.equal(together[1][2:], alone[1])
    assert not torch.equal(together[0], augment(slices, labels, FRAME, EVERYTHING, draws(3, copy=1))[0])


def test_image_and_labels_move_together_and_air_stays_zero():
    disc = (centred_grid(FRAME).square().sum(dim=0) < 100).float().expand(8, 1, -1, -1)
    slices, labels = augment(5 * disc.expand(-1, 4, -1, -1), 2 * disc, FRAME, TABLE_I, draws(8))
    assert not torch.equal(labels, 2 * disc)
    assert set(labels.unique().tolist()) == {0, 2}
    inside = (slices > 2.5).all(dim=1, keepdim=True)
    assert (inside & (labels > 0)).sum() / (labels > 0).sum() > 0.9
    assert (slices[:, :, 0, 0] == 0).all()


def test_maps_stay_within_table_1():
    affine, shift = random_affine((100, 200), draws(2000))
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
    turned = left @ right
    angle = torch.atan2(turned[:, 1, 0], turned[:, 0, 0]).abs().max() * 180 / pi
    assert 14 < angle < 15 + 4  # shears of 0.05 turn by up to 3 degrees more


def map_of(affine, shift):
    coordinates = centred_grid(FRAME).expand(len(affine), -1, -1, -1)
    return apply_affine(affine, shift, coordinates, FRAME)


def test_half_turns_of_the_map_are_half_turns_of_the_image():
    image = brains(1)
    turned = sample(image, map_of(-torch.eye(2)[None], torch.zeros(1, 2)), "bilinear")
    torch.testing.assert_close(turned, image.flip(2, 3), rtol=1e-4, atol=1e-4)


def test_a_shift_of_whole_pixels_moves_values_unchanged():
    image = brains(1)
    moved = sample(image, map_of(torch.eye(2)[None], torch.tensor([[3.0, -2.0]])), "bilinear")
    torch.testing.assert_close(moved[..., 2:, :-3], image[..., :-2, 3:], rtol=1e-4, atol=1e-4)


def test_one_sampling_of_a_map_is_scipy_s():
    images = torch.randn(1, 4, *FRAME, generator=torch.Generator().manual_seed(0))
    coordinates = random_map(FRAME, FRAME, True, draws(1))
    y, x = ((coordinates[0].flip(0) + 1) * torch.tensor(FRAME).view(2, 1, 1) - 1) / 2
    for mode, order in (("bilinear", 1), ("nearest", 0)):
        expected = [ndimage.map_coordinates(image, [y, x], order=order, mode="grid-constant") for image in images[0]]
        assert (
            np.isclose(sample(images, coordinates, mode)[0], expected, atol=1e-3).mean() > 0.999
        )  # but ties of order 0


def test_the_waves_are_those_that_the_filter_of_table_1_leaves():
    noise = np.random.default_rng(0).uniform(-1, 1, 200)
    waves = smooth_waves(200).numpy()
    unit = waves / np.linalg.norm(waves, axis=0)
    filtered = ndimage.gaussian_filter1d(noise, ELASTIC_SIGMA)
    assert np.allclose(waves @ (unit.T @ noise), filtered, atol=2e-3 * np.abs(filtered).max())


def test_elastic_displacements_are_as_strong_as_filtered_noise():
    noises = np.random.default_rng(0).uniform(-1, 1, (100, 192, 160))
    filtered = [ELASTIC_ALPHA * ndimage.gaussian_filter(noise, ELASTIC_SIGMA) for noise in noises]
    displacement = random_displacement((192, 160), draws(100)).numpy()
    assert displacement.std() == pytest.approx(np.std(filtered), rel=0.1)
    spread = np.std(filtered, axis=0)  # stronger at the edges, where the mirrored noise counts twice
    assert np.allclose(displacement.std(axis=(0, 1)), spread, rtol=0.5)
    assert np.corrcoef(displacement.std(axis=(0, 1)).ravel(), spread.ravel())[0, 1] > 0.5


def test_one_interpolation_keeps_more_detail_than_one_after_each_transform():
    image = torch.randn(4, 1, *FRAME, generator=torch.Generator().manual_seed(0))
    first = random_map(FRAME, FRAME, False, draws(4, copy=1))
    second = map_of(*random_affine(FRAME, draws(4, copy=2)))
    sequential = sample(sample(image, first, "bilinear"), second, "bilinear")
    composed = sample(image, sample(first, second, "bilinear"), "bilinear")
    middle = (..., slice(12, 36), slice(16, 48))
    assert high_frequency(composed[middle]) > 1.2 * high_frequency(sequential[middle])


def high_frequency(images):
    """The power beyond half of the highest frequency."""
    power = torch.fft.fft2(images).abs().square()
    y, x = (torch.fft.fftfreq(length).abs() for length in images.shape[-2:])
    return power[..., (y[:, None] > 0.25) | (x > 0.25)].sum()


def test_without_spatial_augmentation_the_middle_is_cut():
    slices, labels = brains(2), brains(2, channels=1)
    plain = change(RECIPE, "augmentation", spatial=False, contrast=0).augmentation
    middle, middle_labels = augment(slices, labels, (32, 32), plain, draws(2))
    assert torch.equal(middle, slices[..., 8:40, 16:48])
    assert torch.equal(middle_labels, labels[..., 8:40, 16:48])


def test_a_larger_frame_is_filled_with_zeros():
    image = torch.ones(1, 1, 3, 5)
    larger = cut(image, (4, 8))
    assert larger.shape == (1, 1, 4, 8)
    assert larger.sum() == 15


@pytest.mark.parametrize("name", INTENSITY)
def test_intensity_changes_leave_air_zero_and_neighbours_alike(name):
    slices = brains(2)
    stacks = torch.stack([slices, slices], dim=1)  # two neighbours that are equal
    changed = INTENSITY[name](stacks, draws(2))
    assert not torch.equal(changed, stacks)
    assert (changed[stacks == 0] == 0).all()
    assert torch.isfinite(changed).all()
    if name != "noise":
        torch.testing.assert_close(changed[:, 0], changed[:, 1])


def test_gamma_keeps_the_mean_intensity_and_the_order():
    ramp = torch.linspace(-3, 5, 65).expand(1, 1, 4, 1, 65).contiguous()
    changed = INTENSITY["gamma"](ramp, draws(1))
    assert (changed.diff(dim=-1)[..., ramp[0, 0, 0, 0, 1:] > 0.2] > 0).all()
    near_zero = ramp[0, 0, 0, 0].abs() < 0.2
    torch.testing.assert_close(changed[..., near_zero], ramp[..., near_zero], atol=0.02, rtol=0)


def test_the_chance_of_a_change_is_that_of_the_recipe():
    slices = brains(400)
    recipe = change(RECIPE, "augmentation", spatial=False, contrast=0, noise=0.25).augmentation
    changed, _ = augment(slices, torch.zeros(400, 1, *FRAME), FRAME, recipe, draws(400))
    share = (changed != slices).flatten(1).any(dim=1).float().mean()
    assert 0.18 < share < 0.32


def test_a_transplant_brings_the_donor_s_tumour_and_nothing_else_of_it():
    host, donor = brains(1)[0], brains(2)[1]
    host_labels, donor_labels = torch.zeros(1, *FRAME), torch.zeros(1, *FRAME)
    donor_labels[0, 15:25, 28:44] = 4
    donor_labels[0, :3] = 2  # outside the host's brain
    slices, labels = transplant(host, host_labels, donor, donor_labels)
    assert torch.equal(labels[0, 15:25, 28:44], donor_labels[0, 15:25, 28:44])
    assert labels.sum() == 4 * 10 * 16
    assert torch.equal(slices[:, 15:25, 28:44], donor[:, 15:25, 28:44])
    far = torch.ones(FRAME, dtype=torch.bool)
    far[12:28, 25:47] = False
    assert torch.equal(slices[:, far], host[:, far])
