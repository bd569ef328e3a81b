import numpy as np
import pytest

from service.imaging.case import Modality
from service.imaging.errors import IntensityError
from service.imaging.normalise import normalise
from service.imaging.volume import Volume

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def head() -> dict[Modality, Volume]:
    """Random intensities, some of them negative, in a box of brain surrounded by background."""
    voxels = np.zeros((4, 12, 14, 16), np.float32)
    voxels[:, 2:9, 3:11, 4:13] = np.random.default_rng(0).normal(5, 10, size=(4, 7, 8, 9))
    return {modality: Volume(image, LPS) for modality, image in zip(Modality, voxels, strict=True)}


def test_intensities_have_mean_zero_and_standard_deviation_one_in_the_brain():
    case = normalise(head())
    assert case.intensities.shape == (4, 7, 8, 9)
    assert case.intensities.mean(axis=(1, 2, 3)) == pytest.approx(np.zeros(4), abs=1e-6)
    assert case.intensities.std(axis=(1, 2, 3)) == pytest.approx(np.ones(4), abs=1e-6)
    assert case.brain.brain_ml == pytest.approx(7 * 8 * 9 / 1000)


def test_a_voxel_that_is_nonzero_in_any_modality_is_brain():
    images = head()
    images[Modality.T1].voxels[5, 5, 5] = 0
    assert normalise(images).intensities[0, 3, 2, 1] != 0


def test_uncropping_restores_the_input_grid():
    case = normalise(head())
    assert np.array_equal(case.brain.uncrop(case.intensities[0] != 0), head()[Modality.T1].voxels != 0)


def test_resampling_does_not_mix_background_into_the_brain():
    coarse = np.diag([-2.0, -2.0, 2.0, 1.0])
    images = {modality: Volume(image.voxels, coarse) for modality, image in head().items()}
    for image in images.values():
        image.voxels[image.voxels != 0] = 100
        image.voxels[5, 5, 5] = 101
    intensities = normalise(images).intensities
    assert (intensities[intensities != 0] > -1).all()  # no value between the constant brain and the background


def test_the_input_images_are_not_modified():
    images = head()
    normalise(images)
    assert np.array_equal(images[Modality.T2].voxels, head()[Modality.T2].voxels)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_non_finite_intensity_is_rejected(value):
    images = head()
    images[Modality.T2].voxels[5, 5, 5] = value
    with pytest.raises(IntensityError, match="T2: expected finite"):
        normalise(images)


def test_a_constant_modality_is_rejected():
    images = head()
    images[Modality.FLAIR].voxels[images[Modality.FLAIR].voxels != 0] = 3
    with pytest.raises(IntensityError, match="FLAIR: expected varying intensities, found 3"):
        normalise(images)


@pytest.mark.parametrize("value", [0.1, 5.1, 1000])
def test_a_constant_modality_is_rejected_on_a_resampled_grid(value):
    coarse = np.diag([-2.0, -2.0, 3.0, 1.0])
    images = {modality: Volume(image.voxels, coarse) for modality, image in head().items()}
    images[Modality.T1].voxels[images[Modality.T1].voxels != 0] = value
    with pytest.raises(IntensityError, match="T1: expected varying"):
        normalise(images)


def test_an_empty_case_is_rejected():
    with pytest.raises(IntensityError, match="found zero in every voxel"):
        normalise({modality: Volume(np.zeros((4, 4, 4), np.float32), LPS) for modality in Modality})
