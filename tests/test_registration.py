"""Registration of series with known motions."""

import numpy as np
import pytest
from support.raw_series import TUMOUR_CENTRE_RAS, make_raw_case, true_motion

from service.imaging.case import Modality
from service.imaging.volume import Volume
from service.preparation.registration import register


@pytest.fixture(scope="module")
def raw():
    return make_raw_case()


def error_mm(found: np.ndarray, expected: np.ndarray) -> float:
    """Distance at the tumour."""
    point = np.linalg.inv(expected) @ [*TUMOUR_CENTRE_RAS, 1]
    return float(np.linalg.norm((found @ point - expected @ point)[:3]))


@pytest.mark.parametrize("modality", [Modality.T1, Modality.T2, Modality.FLAIR])
def test_registration_finds_a_known_motion(modality, raw):
    found = register(raw[modality], raw[Modality.T1GD])
    assert error_mm(found, true_motion(modality)) < 1.5
    assert np.allclose(found[:3, :3] @ found[:3, :3].T, np.eye(3), atol=1e-9)


def test_registration_is_reproducible(raw):
    assert np.array_equal(register(raw["T2"], raw["T1Gd"]), register(raw["T2"], raw["T1Gd"]))


def test_a_header_that_is_far_off_is_corrected(raw):
    away = np.eye(4)
    away[:3, 3] = 400, -300, 200
    far = Volume(raw["FLAIR"].voxels, away @ raw["FLAIR"].affine)
    found = register(far, raw["T1Gd"]) @ away
    assert error_mm(found, true_motion(Modality.FLAIR)) < 1.5
