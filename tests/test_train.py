import json

import pytest
import torch
from support.training_runs import read_log
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny import ONE_NETWORK, RECIPE, change

from model_training.training import run as run_folder
from model_training.training.provenance import Provenance
from model_training.training.train import NetworkTrainer, train
from service.imaging.labels import Region
from service.networks.checkpoints import load_model

CPU = torch.device("cpu")


@pytest.mark.parametrize("network", ["wt", "tc", "et"])
def test_a_run_reduces_the_loss_of_every_network(finished, network):
    log = read_log(finished, network)
    assert [entry["epoch"] for entry in log] == [1, 2, 3, 4]
    assert log[-1]["loss"] < 0.8 * log[0]["loss"]


def test_the_service_can_load_the_weights_of_a_run(finished):
    assert [c.card.regions for c in load_model(finished / "weights", CPU).checkpoints] == [("WT",), ("TC",), ("ET",)]


def test_a_model_card_records_the_provenance_of_the_weights(finished):
    training = load_model(finished / "weights", CPU).checkpoints[0].card.training
    assert training["cases"] == ["one", "two"]
    assert training["chosen_on"] == ["three"]
    assert training["recipe"] == RECIPE.model_dump(mode="json", exclude={"about"})
    assert training["seed"] == 1
    assert training["steps"] == training["epochs"] * 7
    assert len(training["split_sha256"]) == 64


def test_the_weights_of_the_epoch_with_the_best_validation_dice_are_saved(finished):
    for checkpoint in load_model(finished / "weights", CPU).checkpoints:
        dice = [entry["dice"] for entry in read_log(finished, checkpoint.card.stem)]
        assert checkpoint.card.training["epochs"] == dice.index(max(dice)) + 1


def test_scalars_are_written_for_tensorboard(finished):
    events = EventAccumulator(str(finished / "tc")).Reload()
    log = read_log(finished, "tc")
    for name in ("loss", "dice/TC/three"):
        scalars = events.Scalars(name)
        assert [event.value for event in scalars] == pytest.approx([entry[name] for entry in log])
        assert [event.step for event in scalars] == [1, 2, 3, 4]


def test_the_folder_of_a_run_contains_its_inputs(finished):
    assert json.loads((finished / "recipe.json").read_text()) == RECIPE.model_dump(mode="json")
    split = {"train": ["one", "two"], "validation": ["three"], "test": ["four"]}
    assert json.loads((finished / "split.json").read_text()) == split
    assert json.loads((finished / "initial_weights.json").read_text()) is None


def test_a_recipe_with_warm_start_requires_initial_weights(tiny_cases, tmp_path):
    with pytest.raises(ValueError, match=r"expected initial weights \(--initial-weights WEIGHTS\), found none"):
        train(change(RECIPE, "training", warm_start=True), tiny_cases, tmp_path, CPU)


def test_without_validation_cases_the_weights_of_the_last_epoch_are_saved(tiny_cases, tmp_path):
    train(change(ONE_NETWORK, "training", epochs=2), tiny_cases | {"validation": []}, tmp_path, CPU)
    [checkpoint] = load_model(tmp_path / "weights", CPU).checkpoints
    assert checkpoint.card.training["epochs"] == 2
    assert not any("dice" in entry for entry in read_log(tmp_path, "wt-tc-et"))


def test_validation_runs_at_its_interval_and_after_the_last_epoch(tiny_cases, tmp_path):
    train(change(ONE_NETWORK, "training", epochs=3, validate_every=2), tiny_cases, tmp_path, CPU)
    assert ["dice" in entry for entry in read_log(tmp_path, "wt-tc-et")] == [False, True, True]


def test_a_batch_larger_than_the_number_of_slices_is_rejected(tiny_cases, tmp_path):
    with pytest.raises(ValueError, match=r"expected a multiple of 1 \(processes\) up to 28 \(slices\), found 1000"):
        train(change(RECIPE, "training", batch=1000, background_share=1), tiny_cases, tmp_path, CPU)


@pytest.mark.parametrize("precision", ["bfloat16", "float16", "float32"])
def test_training_reduces_the_loss_in_every_precision(precision, tiny_cases):
    recipe = change(RECIPE, "training", precision=precision, learning_rate=1e-3, schedule="constant")
    run = NetworkTrainer(Provenance(recipe, tiny_cases, initial_weights=None), (Region.WT,), CPU)
    progress = run_folder.Progress()
    first_epoch = sum(run._remaining_steps(progress))
    progress.finish_epoch()
    assert sum(run._remaining_steps(progress)) < 0.95 * first_epoch


def test_the_first_epochs_are_trained_at_half_the_resolution(tiny_cases, tmp_path):
    recipe = change(ONE_NETWORK, "training", epochs=2, half_resolution_epochs=1)
    trainer = NetworkTrainer(Provenance(recipe, tiny_cases, None), tuple(Region), CPU)
    shapes = []
    trainer.network.register_forward_pre_hook(lambda _, inputs: shapes.append(tuple(inputs[0].shape[-2:])))
    trainer.train(tmp_path)
    assert shapes[: 2 * trainer.steps] == [(48, 48)] * trainer.steps + [(96, 96)] * trainer.steps


def test_a_network_for_three_regions_can_initialise_a_network_for_each(tiny_cases, tmp_path):
    train(change(ONE_NETWORK, "training", epochs=1), tiny_cases, tmp_path / "shared", CPU)
    model = load_model(tmp_path / "shared" / "weights", CPU)
    slices = torch.randn(2, 4, 32, 32)
    expected = model.checkpoints[0].network(slices).sigmoid()
    for channel, region in enumerate(Region):
        run = NetworkTrainer(Provenance(RECIPE, tiny_cases, model), (region,), CPU)
        found = run.network.eval()(slices).softmax(dim=1)[:, 1]
        torch.testing.assert_close(found, expected[:, channel])
        card = run.provenance.card((region,), epochs=1, steps=7)
        assert card.training["initial_weights"]["sha256"] == model.sha256


def test_initial_weights_of_another_size_are_rejected(finished, tiny_cases, tmp_path):
    initial_weights = load_model(finished / "weights", CPU)
    with pytest.raises(ValueError, match=r"expected WT of width 8, .* found WT of width 4"):
        train(change(RECIPE, "network", width=8), tiny_cases, tmp_path, CPU, initial_weights)
