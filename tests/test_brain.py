"""The mask of the brain, with a network whose answer is known."""

import numpy as np
import pytest
import torch
from support.raw_series import AXIAL
from torch import nn

from service.imaging.case import Case, Modality
from service.imaging.errors import GeometryError, IntensityError, PreparationError
from service.imaging.phantom import make_phantom
from service.imaging.volume import Grid, Volume
from service.networks.errors import WeightsError
from service.networks.link_net import LinkNet
from service.preparation.brain import MEAN, BrainNetworks, find_brain, find_brain_roughly, load_brain_networks
from service.preparation.prepare import prepare_raw


class BrightnessNetwork(nn.Module):
    """Finds brain where the intensity is above the mean."""

    def forward(self, volumes):
        return torch.cat([MEAN - volumes, volumes - MEAN], dim=1) * 100


def bright_brain(grid: Grid) -> Volume:
    """A brain without skull, brighter than the noise around it."""
    return Volume(make_phantom(grid)["T1Gd"].voxels.clip(max=300).astype(np.int16), grid.affine)


def test_the_mask_of_the_brain_is_on_the_grid_of_the_scan():
    scan, networks = bright_brain(AXIAL), BrainNetworks(BrightnessNetwork(), BrightnessNetwork())
    rough = find_brain_roughly(scan, networks)
    assert rough.voxels.shape == (128, 128, 128)
    mask = find_brain(scan, rough, networks)
    assert np.array_equal(mask.affine, AXIAL.affine)
    expected = scan.voxels > 0
    overlap = 2 * (mask.voxels & expected).sum() / (mask.voxels.sum() + expected.sum())
    assert overlap > 0.97
    corner = rough.affine @ [127, 127, 127, 1]
    assert np.allclose(np.abs(corner - AXIAL.affine @ [0, 0, 31, 1])[:3], [0.14, 0.14, 1.875], atol=0.01)


def test_a_scan_without_brain_has_an_empty_mask():
    class Nothing(nn.Module):
        def forward(self, volumes):
            return torch.cat([volumes * 0 + 1, volumes * 0], dim=1)

    networks = BrainNetworks(Nothing(), Nothing())
    scan = bright_brain(AXIAL)
    rough = find_brain_roughly(scan, networks)
    assert not rough.voxels.any()
    assert not find_brain(scan, rough, networks).voxels.any()
    with pytest.raises(PreparationError, match=r"^T1Gd: expected a head, found no brain"):
        prepare_raw(Case({Modality.T1GD: scan}), [], networks)


def test_the_network_keeps_the_shape_of_a_volume():
    with torch.inference_mode():
        assert LinkNet().eval()(torch.zeros(1, 1, 32, 64, 32)).shape == (1, 2, 32, 64, 32)


def test_damaged_weights_are_an_error(tmp_path):
    (tmp_path / "box.safetensors").write_bytes(b"damaged")
    with pytest.raises(WeightsError, match=r"box\.safetensors: expected the weights of a brain network"):
        load_brain_networks(tmp_path)


def test_unusable_images_are_rejected_before_any_work():
    scan = bright_brain(AXIAL)
    not_finite = Volume(np.where(scan.voxels == 0, np.nan, scan.voxels).astype(np.float32), scan.affine)
    far = Volume(scan.voxels, scan.affine @ np.diag([4, 4, 1, 1]))
    networks = load_brain_networks()
    with pytest.raises(IntensityError, match=r"^T2: expected finite intensities"):
        prepare_raw(Case({Modality.T1GD: scan, Modality.T2: not_finite}), [], networks)
    with pytest.raises(GeometryError, match=r"^T2: expected at most 512 mm"):
        prepare_raw(Case({Modality.T1GD: scan, Modality.T2: far}), [], networks)
    empty = Volume(np.zeros_like(scan.voxels), scan.affine)
    with pytest.raises(PreparationError, match=r"^brain mask: expected voxels that are not zero"):
        prepare_raw(Case({Modality.T1GD: scan}, brain_mask=empty), [], networks)
