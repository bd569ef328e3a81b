import json
import os
import signal
import subprocess
import sys
from itertools import islice
from time import monotonic, sleep

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny import RECIPE, change

from model_training import run as run_folder
from model_training.train import NetworkRun, train
from service.segmentation.labels import Region
from service.segmentation.weights import load_model

CPU = torch.device("cpu")
TIMEOUT_S = 120
ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1"}


def read_log(run, network="wt"):
    return [json.loads(line) for line in (run / network / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def finished(tiny_cases, tmp_path_factory):
    """A run of the tiny recipe that nothing interrupted."""
    run = tmp_path_factory.mktemp("finished")
    train(RECIPE, tiny_cases, run, CPU)
    return run


def test_a_run_learns_and_its_weights_are_what_the_service_loads(finished):
    log = read_log(finished)
    assert [entry["epoch"] for entry in log] == [1, 2, 3, 4]
    assert log[-1]["loss"] < 0.8 * log[0]["loss"]
    assert [c.card.regions for c in load_model(finished / "weights", CPU).checkpoints] == [("WT",), ("TC",), ("ET",)]


def test_a_card_tells_where_the_weights_come_from(finished):
    training = load_model(finished / "weights", CPU).checkpoints[0].card.training
    assert training["cases"] == ["one", "two"]
    assert training["chosen_on"] == ["three"]
    assert training["recipe"]["training"]["learning_rate"] == 1e-2
    assert training["seed"] == 1
    assert 1 <= training["epochs"] <= 4
    assert len(training["split_sha256"]) == 64


def test_the_scalars_are_there_for_tensorboard(finished):
    events = EventAccumulator(str(finished / "tc")).Reload()
    losses = [event.value for event in events.Scalars("loss")]
    assert losses == pytest.approx([entry["loss"] for entry in read_log(finished, "tc")])
    assert [event.step for event in events.Scalars("dice/TC/three")] == [1, 2, 3, 4]


def test_the_folder_holds_recipe_and_split(finished):
    assert json.loads((finished / "recipe.json").read_text()) == RECIPE.model_dump(mode="json")
    assert json.loads((finished / "split.json").read_text())["validation"] == ["three"]


def test_a_run_interrupted_in_mid_epoch_ends_with_the_same_weights(finished, tiny_cases, tmp_path, monkeypatch):
    monkeypatch.setattr(run_folder, "SECONDS_BETWEEN_STATES", 0)
    stop_after_steps(RECIPE, tiny_cases, tmp_path, 7, monkeypatch)
    train(RECIPE, tiny_cases, tmp_path, CPU)
    for name in ("wt", "tc", "et"):
        file = f"weights/{name}.safetensors"
        assert (tmp_path / file).read_bytes() == (finished / file).read_bytes()
    assert losses(tmp_path) == losses(finished)


def losses(run):
    return [entry["loss"] for entry in read_log(run)]


def stop_after_steps(recipe, cases, run, steps, monkeypatch):
    unbroken = NetworkRun._rest_of_epoch
    with monkeypatch.context() as patched:
        left = iter(range(steps))

        def stop(self, progress):
            for loss in unbroken(self, progress):
                yield loss
                if next(left, None) is None:
                    raise KeyboardInterrupt

        patched.setattr(NetworkRun, "_rest_of_epoch", stop)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, cases, run, CPU)


def test_a_killed_run_ends_with_the_same_weights(finished, tiny_cache, tmp_path):
    run = tmp_path / "killed"
    command = cli_train(tmp_path, tiny_cache, run, RECIPE)
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    wait_for(run / "wt" / "state.pt")
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (run / "weights" / "et.safetensors").exists()
    subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT_S)
    for name in ("wt", "tc", "et"):
        file = f"weights/{name}.safetensors"
        assert (run / file).read_bytes() == (finished / file).read_bytes()


def cli_train(folder, cache, run, recipe):
    """The command that trains, as a user gives it."""
    lines = []
    for table, values in recipe.model_dump(mode="json", exclude_none=True).items():
        if isinstance(values, dict):
            lines += [f"[{table}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
        else:
            lines.append(f"{table} = {json.dumps(values)}")
    path = folder / f"{run.name}.toml"
    path.write_text("\n".join(lines))
    return [sys.executable, "-m", "model_training", "train", path, "--cache", cache, "--out", run]


def wait_for(path):
    end = monotonic() + TIMEOUT_S
    while not path.exists():
        assert monotonic() < end, f"{path} did not come"
        sleep(0.02)


def test_a_folder_takes_no_other_run(finished, tiny_cases):
    with pytest.raises(ValueError, match="expected the run of this recipe, found another"):
        train(change(RECIPE, "training", epochs=5), tiny_cases, finished, CPU)
    with pytest.raises(ValueError, match="expected the run of this split, found another"):
        train(RECIPE, tiny_cases | {"validation": []}, finished, CPU)


def test_a_recipe_that_goes_on_takes_weights_to_go_on_from(tiny_cases, tmp_path):
    with pytest.raises(ValueError, match=r"expected weights to go on from \(--from FOLDER\), found none"):
        train(change(RECIPE, "training", goes_on=True), tiny_cases, tmp_path, CPU)


def test_without_validation_cases_the_last_epoch_is_kept(tiny_cases, tmp_path):
    recipe = change(change(RECIPE, "training", epochs=2), "network", outputs="three in one")
    train(recipe, tiny_cases | {"validation": []}, tmp_path, CPU)
    [checkpoint] = load_model(tmp_path / "weights", CPU).checkpoints
    assert checkpoint.card.training["epochs"] == 2


def test_validation_may_come_every_few_epochs_and_at_the_end(tiny_cases, tmp_path):
    recipe = change(RECIPE, "network", outputs="three in one")
    train(change(recipe, "training", epochs=3, validate_every=2), tiny_cases, tmp_path, CPU)
    assert ["dice" in entry for entry in read_log(tmp_path, "wt-tc-et")] == [False, True, True]


def test_a_batch_larger_than_the_data_is_refused(tiny_cases, tmp_path):
    with pytest.raises(ValueError, match="at most"):
        train(change(RECIPE, "training", batch=1000), tiny_cases, tmp_path, CPU)


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_every_precision_learns(precision, tiny_cases):
    recipe = change(RECIPE, "training", precision=precision)
    run = NetworkRun(recipe, (Region.WT,), tiny_cases, CPU, start=None)
    [*values] = islice(run._rest_of_epoch(run_folder.Progress()), 5)
    assert all(0 < value < 3 for value in values)


def test_one_network_for_three_regions_starts_three_for_one_each(tiny_cases, tmp_path):
    shared = change(change(RECIPE, "network", outputs="three in one"), "training", epochs=1)
    train(shared, tiny_cases, tmp_path / "shared", CPU)
    model = load_model(tmp_path / "shared" / "weights", CPU)
    slices = torch.randn(2, 4, 32, 32)
    expected = model.checkpoints[0].network(slices).sigmoid()
    for channel, region in enumerate(Region):
        run = NetworkRun(RECIPE, (region,), tiny_cases, CPU, start=model)
        answered = run.network.eval()(slices).softmax(dim=1)[:, 1]
        torch.testing.assert_close(answered, expected[:, channel])
        assert run.card(1).training["start"]["sha256"] == model.sha256


def test_weights_of_another_size_cannot_start_a_run(finished, tiny_cases, tmp_path):
    start = load_model(finished / "weights", CPU)
    with pytest.raises(ValueError, match=r"expected WT of width 8, .* found WT of width 4"):
        train(change(RECIPE, "network", width=8), tiny_cases, tmp_path, CPU, start)


@pytest.mark.parametrize("loss", ["dice", "batch dice + cross-entropy"])
def test_two_processes_train_like_one(loss, tiny_cache, tiny_cases, tmp_path):
    recipe = change(change(RECIPE, "training", epochs=2, loss=loss), "network", outputs="three in one")
    alone = cli_train(tmp_path, tiny_cache, tmp_path / "alone", recipe)
    together = cli_train(tmp_path, tiny_cache, tmp_path / "together", recipe)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    together[1:1] = launcher
    for command in (alone, together):
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=TIMEOUT_S, env=ONE_THREAD)
        assert done.returncode == 0, done.stderr
    one, two = (read_log(tmp_path / name, "wt-tc-et") for name in ("alone", "together"))
    assert [entry["loss"] for entry in two] == pytest.approx([entry["loss"] for entry in one], rel=2e-4)
    # Probabilities, not Dice: a barely trained network is undecided in many voxels, and rounding moves its masks.
    alone, together = (probabilities_after(tmp_path / name, tiny_cases) for name in ("alone", "together"))
    assert (together - alone).abs().mean() < 1e-3


@torch.no_grad()
def probabilities_after(run, cases):
    """What a run's network answers for the validation case."""
    [checkpoint] = load_model(run / "weights", CPU).checkpoints
    scores = torch.from_numpy(cases["validation"][0].scores[..., :96, :96].astype("float32"))
    return checkpoint.network(scores).sigmoid()
