from time import sleep

import numpy as np
import pytest

from service.imaging.case import GROUND_TRUTH, Modality
from service.imaging.labels import Region, region_masks
from service.imaging.phantom import BRAIN, TUMOUR, make_phantom, zip_files
from service.imaging.volume import Grid


def test_the_tumour_has_the_volume_of_its_ellipsoids(phantom):
    masks = region_masks(phantom[GROUND_TRUTH].voxels)
    for region, ellipsoid in TUMOUR.items():
        assert masks[region].sum() / 1000 == pytest.approx(ellipsoid.volume_ml, rel=0.01)
    assert not (masks[Region.ET] & ~masks[Region.TC]).any()


def test_the_background_is_exactly_zero():
    phantom = make_phantom(Grid((60, 60, 39), np.diag([-4.0, -4.0, 4.0, 1.0])))
    for modality in Modality:
        brain = phantom[modality].voxels != 0
        assert brain.sum() * 64 / 1000 == pytest.approx(BRAIN.volume_ml, rel=0.02)


def test_zips_made_at_different_times_are_identical(phantom_files):
    earlier = zip_files(phantom_files)
    sleep(2.1)  # time stamps in zip files have a resolution of two seconds
    assert zip_files(phantom_files) == earlier
