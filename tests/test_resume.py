"""Training runs that are interrupted or killed, and resumed."""

import signal
import subprocess
from time import monotonic, sleep

import pytest
import torch
from support.training_runs import TIMEOUT_S, cli_train, losses
from tiny import RECIPE, change

from model_training.training import run as run_folder
from model_training.training.train import NetworkTrainer, train
from service.networks.checkpoints import load_model

CPU = torch.device("cpu")


def test_a_run_interrupted_within_an_epoch_resumes_to_the_same_weights(finished, tiny_cases, tmp_path, monkeypatch):
    monkeypatch.setattr(run_folder, "SECONDS_BETWEEN_SAVES", 0)
    stop_after_steps(RECIPE, tiny_cases, tmp_path, 9, monkeypatch)
    state = torch.load(tmp_path / "wt" / "state.pt", weights_only=True)
    assert (state["progress"]["epoch"], state["progress"]["step"]) == (1, 2)  # 7 steps per epoch
    train(RECIPE, tiny_cases, tmp_path, CPU)
    assert_same_weights(tmp_path, finished)
    assert losses(tmp_path) == losses(finished)


def assert_same_weights(run, expected):
    for name in ("wt", "tc", "et"):
        file = f"weights/{name}.safetensors"
        assert (run / file).read_bytes() == (expected / file).read_bytes()


def stop_after_steps(recipe, cases, run, steps, monkeypatch):
    remaining_steps = NetworkTrainer._remaining_steps
    with monkeypatch.context() as patched:
        left = iter(range(1, steps))

        def stop(self, progress):
            for loss in remaining_steps(self, progress):
                yield loss
                if next(left, None) is None:
                    raise KeyboardInterrupt

        patched.setattr(NetworkTrainer, "_remaining_steps", stop)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, cases, run, CPU)


def test_a_killed_run_resumes_to_the_same_weights(finished, tiny_cache, tmp_path):
    run = tmp_path / "killed"
    command = cli_train(tmp_path, tiny_cache, run, RECIPE)
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    wait_for(run / "wt" / "state.pt")
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (run / "weights" / "et.safetensors").exists()
    subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT_S)
    assert_same_weights(run, finished)


def wait_for(path):
    end = monotonic() + TIMEOUT_S
    while not path.exists():
        assert monotonic() < end, f"{path} does not exist after {TIMEOUT_S} s"
        sleep(0.02)


def test_a_folder_with_another_run_is_rejected(finished, tiny_cases):
    with pytest.raises(ValueError, match=r"expected a run with the same recipe.json, found another"):
        train(change(RECIPE, "training", epochs=5), tiny_cases, finished, CPU)
    with pytest.raises(ValueError, match=r"expected a run with the same split.json, found another"):
        train(RECIPE, tiny_cases | {"validation": []}, finished, CPU)
    with pytest.raises(ValueError, match=r"expected a run with the same initial_weights.json, found another"):
        train(RECIPE, tiny_cases, finished, CPU, load_model(finished / "weights", CPU))
