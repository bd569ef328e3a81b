"""`glioserve selftest`: the bundled weights answer as recorded, and others do not."""

from support.command_line import GLIOSERVE
import os
import shutil
import subprocess

import numpy as np
import pytest

from service.segmentation.volume import Volume, encode_nifti
from service.selftest import run_selftest
from service.settings import DEFAULT_WEIGHTS, Settings


def selftest(*arguments, **settings):
    environment = os.environ | {f"GLIOSERVE_{name.upper()}": str(value) for name, value in settings.items()}
    return subprocess.run(
        [GLIOSERVE, "selftest", *arguments], env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_the_bundled_weights_give_the_recorded_mask(precision):
    result = run_selftest(Settings(device="cpu", precision=precision))
    assert result.precision == precision
    assert result.passed


def test_a_recorded_mask_is_reproduced_voxel_by_voxel(weights, tmp_path):
    folder = shutil.copytree(weights, tmp_path / "weights")
    missing = selftest(weights=folder)
    assert missing.returncode == 1
    assert "`glioserve selftest --record` writes it" in missing.stderr
    assert selftest("--record", weights=folder).stdout == f"wrote {folder / 'phantom.nii.gz'}\n"
    # As in a container that has no keys yet: nothing listens, so nobody needs one.
    met = selftest(weights=folder, host="0.0.0.0")
    assert met.returncode == 0, met.stderr
    assert "mask identical to the recorded one\npassed\n" in met.stdout


def test_a_mask_different_from_the_recorded_one_fails(weights, tmp_path):
    folder = shutil.copytree(weights, tmp_path / "weights")
    shutil.copy(DEFAULT_WEIGHTS / "phantom.nii.gz", folder)
    other = selftest(weights=folder, device="cpu")
    assert other.returncode == 1
    assert "Dice with the recorded mask: WT 0." in other.stdout
    assert other.stderr == "Not passed: this machine, or these weights, do not answer as recorded.\n"


def test_an_unusable_recorded_mask_is_reported_with_a_remedy(weights, tmp_path):
    folder = shutil.copytree(weights, tmp_path / "weights")
    for record in (b"junk", encode_nifti(Volume(np.zeros((2, 2, 2), np.uint8), np.eye(4)))):
        (folder / "phantom.nii.gz").write_bytes(record)
        ended = selftest(weights=folder, device="cpu")
        assert ended.returncode == 1
        assert "`glioserve selftest --record` writes it" in ended.stderr
        assert "Traceback" not in ended.stderr
