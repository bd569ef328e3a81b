from contextlib import nullcontext
from dataclasses import dataclass
from itertools import permutations

import nibabel as nib
import numpy as np
import pytest
from support.known_networks import centroid_mm, known_masks, threshold_masks

from service.imaging.case import GROUND_TRUTH, Modality
from service.imaging.geometry import LPS_AXES
from service.imaging.labels import EnhancingLabel, Region, label_map, region_masks
from service.imaging.phantom import TUMOUR, encode_phantom, make_phantom
from service.imaging.volume import Grid, Volume
from service.segmentation.options import Options
from service.segmentation.pipeline import segment


@pytest.fixture(scope="module")
def plain(phantom_files, model):
    return segment(phantom_files, model)


def test_the_mask_is_exactly_the_known_one(plain, phantom):
    expected = label_map(known_masks(phantom), EnhancingLabel.BRATS_2022)
    assert np.array_equal(plain.labels.voxels, expected)
    assert np.array_equal(plain.labels.affine, phantom["T1"].affine)


def test_volumes_match_the_ellipsoids_of_the_phantom(plain):
    for region, ellipsoid in TUMOUR.items():
        assert plain.volumes_ml[region] == pytest.approx(ellipsoid.volume_ml, rel=0.03)


def test_scores_against_the_ground_truth_are_high(plain):
    assert all(scores.dice > 0.95 and scores.hd95_mm <= 2 for scores in plain.scores.values())


def test_voxels_changed_by_nesting_are_counted(plain, phantom):
    fused, found = known_masks(phantom), threshold_masks(phantom)
    slices = found[Region.WT].any(axis=(0, 1))  # the only ones that the inner networks see
    changed = sum((fused[region] ^ (found[region] & slices)).sum() for region in Region)
    assert changed > 1000  # such as the ventricles
    assert plain.prediction.voxels_changed_by_nesting == changed


def test_the_enhancing_tumour_has_label_3_on_request(phantom_files, model, plain):
    labels = segment(phantom_files, model, Options(EnhancingLabel.BRATS_2023)).labels.voxels
    assert (labels == 3).any()
    assert np.array_equal(labels == 3, plain.labels.voxels == 4)
    assert not (labels == 4).any()


def test_a_case_without_ground_truth_has_no_scores(phantom, model):
    images = {name: volume for name, volume in phantom.items() if name != GROUND_TRUTH}
    assert segment(encode_phantom(images), model).scores is None


def test_a_nonzero_background_causes_a_warning(model, plain):
    assert plain.warnings == ()
    coarse = make_phantom(Grid((60, 60, 39), np.diag([-4.0, -4.0, 4.0, 1.0])))
    noisy = {name: Volume(coarse[name].voxels + np.int16(3), coarse[name].affine) for name in Modality}
    [warning] = segment(encode_phantom(noisy), model).warnings
    assert "probably not skull-stripped" in warning


@dataclass
class RecordingObserver:
    """A progress observer that records what it is told."""

    stages: list[str]
    slices: list[tuple[str, int, int]]

    def stage(self, name):
        self.stages.append(name)
        return nullcontext()

    def advance(self, network, done, of):
        self.slices.append((network, done, of))


def test_the_progress_observer_sees_every_stage_in_order(phantom_files, model):
    seen = RecordingObserver([], [])
    segment(phantom_files, model, observer=seen)
    assert seen.stages == ["decode", "normalise", "predict_wt", "predict_tc", "predict_et", "resample", "measure"]
    assert seen.slices[:3] == [("wt", 0, 50), ("wt", 10, 50), ("wt", 20, 50)]
    assert [done for network, done, of in seen.slices if network == "et" and done == of] == [seen.slices[-1][1]]


def reoriented(volume: Volume, order, flips) -> Volume:
    """The same image with its array axes permuted and flipped."""
    image = nib.Nifti1Image(volume.voxels, volume.affine)
    turned = image.as_reoriented(np.array([[axis, flip] for axis, flip in zip(order, flips, strict=True)]))
    return Volume(np.asarray(turned.dataobj), turned.affine)


@pytest.mark.parametrize("order", list(permutations(range(3)))[1:4], ids=str)
@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, -1)], ids=str)
def test_another_storage_orientation_gives_the_same_mask(order, flips, phantom, model, plain):
    turned = {name: reoriented(volume, order, flips) for name, volume in phantom.items()}
    labels = segment(encode_phantom(turned), model).labels
    assert np.array_equal(labels.voxels, reoriented(plain.labels, order, flips).voxels)
    assert np.array_equal(labels.affine, turned["T1"].affine)


def coarse_grid() -> Grid:
    """The slab of the phantom with a spacing of 2 mm."""
    return Grid((75, 90, 25), np.array([[-2, 0, 0, -45], [0, -2, 0, -30], [0, 0, 2, 71], [0, 0, 0, 1.0]]))


def oblique_grid(spacing_mm: tuple[float, float, float], shape: tuple[int, int, int]) -> Grid:
    """A grid tilted by 12 degrees about the left-right axis, centred on the slab."""
    tilt = np.deg2rad(12)
    turn = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ LPS_AXES @ np.diag(spacing_mm)
    affine[:3, 3] = [-120, -122, 96] - affine[:3, :3] @ (np.array(shape) / 2)
    return Grid(shape, affine)


@pytest.mark.parametrize(
    "grid",
    [coarse_grid(), oblique_grid((1.1, 0.9, 3.0), (140, 200, 22))],
    ids=["2-mm", "oblique"],
)
def test_another_grid_gives_the_same_tumour_at_the_same_place(grid, model, plain):
    phantom = make_phantom(grid)
    found = segment(encode_phantom(phantom), model)
    assert found.labels.grid.shape == grid.shape
    assert np.allclose(found.labels.affine, grid.affine, atol=1e-4)
    for region, mask in region_masks(plain.labels.voxels).items():
        expected_mm = centroid_mm(mask, plain.labels.affine)
        found_mm = centroid_mm(region_masks(found.labels.voxels)[region], found.labels.affine)
        assert found_mm == pytest.approx(expected_mm, abs=0.5)
        assert found.scores[region].dice > 0.95
