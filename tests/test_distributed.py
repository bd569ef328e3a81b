"""Training in several processes."""

import os
import subprocess

import pytest
import torch
from support.training_runs import TIMEOUT_S, cli_train, losses
from tiny import ONE_NETWORK, change

from service.networks.checkpoints import load_model

CPU = torch.device("cpu")
ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1"}


@pytest.mark.parametrize("loss", ["dice", "batch dice + cross-entropy"])
def test_two_processes_give_the_same_result_as_one(loss, tiny_cache, tiny_cases, tmp_path):
    recipe = change(ONE_NETWORK, "training", epochs=2, loss=loss)
    alone = cli_train(tmp_path, tiny_cache, tmp_path / "alone", recipe)
    together = cli_train(tmp_path, tiny_cache, tmp_path / "together", recipe)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    together[1:1] = launcher
    for command in (alone, together):
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=TIMEOUT_S, env=ONE_THREAD)
        assert done.returncode == 0, done.stderr
    one, two = (losses(tmp_path / name, "wt-tc-et") for name in ("alone", "together"))
    assert two == pytest.approx(one, rel=2e-4)
    # Probabilities, not Dice: after little training many voxels are near the threshold, and rounding changes masks.
    alone, together = (validation_probabilities(tmp_path / name, tiny_cases) for name in ("alone", "together"))
    assert (together - alone).abs().mean() < 1e-3


@torch.no_grad()
def validation_probabilities(run, cases):
    """Probabilities that a run's network predicts for the validation case."""
    [checkpoint] = load_model(run / "weights", CPU).checkpoints
    intensities = torch.from_numpy(cases["validation"][0].intensities[..., :96, :96].astype("float32"))
    return checkpoint.network(intensities).sigmoid()
