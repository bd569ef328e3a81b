"""`glioserve selftest`: the comparison of the mask of the phantom with the recorded one."""

import shutil

import numpy as np
import pytest
from support.command_line import run_glioserve

from service.command_line.selftest import run_selftest
from service.imaging.nifti import encode_nifti
from service.imaging.volume import Volume
from service.settings import DEFAULT_WEIGHTS, Settings


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_the_bundled_weights_give_the_recorded_mask(precision):
    result = run_selftest(Settings(device="cpu", precision=precision))
    assert result.precision == precision
    assert result.has_passed


def test_a_recorded_mask_is_reproduced_voxel_by_voxel(weights, tmp_path):
    folder = shutil.copytree(weights, tmp_path / "weights")
    missing = run_glioserve("selftest", weights=folder)
    assert missing.returncode == 1
    assert "`glioserve selftest --record`, on a machine that works correctly, writes it" in missing.stderr
    assert run_glioserve("selftest", "--record", weights=folder).stdout == f"wrote {folder / 'phantom.nii.gz'}\n"
    # As in a container without keys: the selftest opens no port, so it needs none.
    passed = run_glioserve("selftest", weights=folder, host="0.0.0.0")
    assert passed.returncode == 0, passed.stderr
    assert "mask identical to the recorded one\npassed\n" in passed.stdout


def test_a_mask_different_from_the_recorded_one_fails(weights, tmp_path):
    folder = shutil.copytree(weights, tmp_path / "weights")
    shutil.copy(DEFAULT_WEIGHTS / "phantom.nii.gz", folder)
    other = run_glioserve("selftest", weights=folder, device="cpu")
    assert other.returncode == 1
    assert "Dice with the recorded mask: WT 0." in other.stdout
    assert other.stderr == "Failed: this machine, or these weights, do not reproduce the recorded label map.\n"


def test_an_unusable_recorded_mask_is_reported_with_a_remedy(weights, tmp_path):
    folder = shutil.copytree(weights, tmp_path / "weights")
    for record in (b"junk", encode_nifti(Volume(np.zeros((2, 2, 2), np.uint8), np.eye(4)))):
        (folder / "phantom.nii.gz").write_bytes(record)
        result = run_glioserve("selftest", weights=folder, device="cpu")
        assert result.returncode == 1
        assert "`glioserve selftest --record`, on a machine that works correctly, writes it" in result.stderr
        assert "Traceback" not in result.stderr
