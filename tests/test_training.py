"""The training, on a data set of two small phantoms."""

import json
from dataclasses import replace
from itertools import count

import numpy as np
import pytest
import torch
from known_networks import save_model

from model_training.augment import augment
from model_training.evaluate import evaluate, mean_dice, print_table, record_scores
from model_training.loss import SMOOTHING, batch_dice_loss
from model_training.prepare import open_cache, prepare, read_split
from model_training.recipe import Recipe, read_recipe
from model_training.slices import SliceSet
from model_training.train import _step, train
from service.phantom import encode_phantom, make_phantom
from service.segmentation.labels import Region, region_masks
from service.segmentation.volume import Grid
from service.segmentation.weights import load_model

CPU = torch.device("cpu")
SPLIT = {"train": ["one", "two"], "validation": ["one"], "test": ["two"]}
RECIPE = Recipe(
    name="tiny",
    version="1",
    width=4,
    depth=2,
    epochs=6,
    batch=4,
    learning_rate=1e-2,
    background_share=0.5,
    averaging=0.5,
    seed=1,
    licence="none",
    attribution="none",
    intended_use="tests",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two phantoms, a few axial slices each, as BraTS folders, and a third that is damaged."""
    folder = tmp_path_factory.mktemp("data")
    for name, first_slice in (("one", 78), ("two", 92)):
        affine = np.array([[-3, 0, 0, -45], [0, -3, 0, -30], [0, 0, 1, first_slice], [0, 0, 0, 1.0]])
        affine[:3, :3] = np.diag([-1, -1, 1])
        write_case(folder / name, make_phantom(Grid((150, 180, 14), affine)))
    write_case(folder / "damaged", {})
    return folder


def write_case(folder, volumes):
    folder.mkdir()
    for name, content in encode_phantom(volumes).items():
        (folder / name.rpartition("/")[2]).write_bytes(content)


@pytest.fixture(scope="module")
def cache(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    prepare(data, SPLIT | {"validation": []}, folder)
    return folder


def test_a_damaged_case_is_named_and_the_others_are_prepared(data, tmp_path):
    left_out = prepare(data, {"train": ["damaged", "one"], "validation": ["absent"], "test": []}, tmp_path)
    assert sorted(left_out) == ["absent", "damaged"]
    assert left_out["damaged"].startswith("T1, T1Gd, T2, FLAIR: missing")
    assert [path.name for path in tmp_path.iterdir()] == ["one"]
    assert [case.name for case in open_cache(tmp_path, {"train": ["damaged", "one"]})["train"]] == ["one"]


def test_the_cache_holds_normalised_slices_with_their_labels(cache):
    [one, _] = open_cache(cache, SPLIT)["train"]
    assert one.scores.shape == (14, 4, *one.labels.shape[1:])
    assert isinstance(one.scores, np.memmap)
    inside = one.scores[:, 3][one.labels == 2]
    assert inside.mean() > 1  # oedema is bright in FLAIR


@pytest.mark.parametrize(
    ("split", "message"),
    [({"train": []}, "expected the lists"), (SPLIT, "found twice: one, two")],
)
def test_a_split_must_have_three_lists_and_no_case_twice(split, message, tmp_path):
    (tmp_path / "split.json").write_text(json.dumps(split))
    with pytest.raises(ValueError, match=message):
        read_split(tmp_path / "split.json")


def test_an_unknown_key_of_a_recipe_is_named(tmp_path):
    (tmp_path / "recipe.toml").write_text("colour = 1")
    with pytest.raises(ValueError, match="colour"):
        read_recipe(tmp_path / "recipe.toml")


def test_an_epoch_draws_every_slice_with_tumour_and_a_share_of_the_others(cache):
    slices = SliceSet(open_cache(cache, SPLIT)["train"], stride=16)
    order = slices.draw(0.5, torch.Generator().manual_seed(0))
    with_tumour = set(np.flatnonzero(slices.holds_tumour))
    assert with_tumour <= set(order)
    assert len(order) == len(set(order)) == len(with_tumour) + round(0.5 * (28 - len(with_tumour)))
    assert order == slices.draw(0.5, torch.Generator().manual_seed(0))


def test_batches_bring_each_slice_with_its_own_mask(cache):
    cases = open_cache(cache, SPLIT)["train"]
    slices = SliceSet(cases, stride=16)
    [(scores, masks)] = slices.batches(list(range(14)), 14, Region.WT)
    assert scores.shape[2:] == masks.shape[2:] == (176, 144)
    assert masks.sum() == region_masks(cases[0].labels)[Region.WT].sum()
    assert scores[:, 3][masks[:, 0] > 0].mean() > 1  # oedema is bright in FLAIR
    assert scores[:, 3][masks[:, 0] == 0].mean() < 0


def test_augmentation_moves_image_and_mask_together_and_leaves_air_zero():
    x, y = torch.meshgrid(torch.arange(48.0), torch.arange(64.0), indexing="ij")
    disc = ((x - 24) ** 2 + (y - 30) ** 2 < 100).float().expand(8, 1, -1, -1)
    slices, masks = augment(5 * disc.expand(-1, 4, -1, -1), disc, torch.Generator().manual_seed(0))
    assert not torch.equal(masks, disc)
    assert set(masks.unique().tolist()) == {0, 1}
    overlap = ((slices > 2).all(dim=1, keepdim=True).float() * masks).sum() / masks.sum()
    assert overlap > 0.9
    assert (slices[:, :, 0, 0] == 0).all()


def test_the_same_seed_augments_alike():
    slices, masks = torch.randn(2, 4, 16, 16), torch.ones(2, 1, 16, 16)
    a, b = (augment(slices, masks, torch.Generator().manual_seed(7))[0] for _ in range(2))
    assert torch.equal(a, b)


def test_batch_dice_is_equation_2_worked_by_hand():
    truth = torch.tensor([[[[1.0, 0, 0, 0]], [[0, 1, 1, 1]]], [[[1.0, 1, 0, 0]], [[0, 0, 1, 1]]]])  # (2, 2, 1, 4)
    probabilities = torch.full_like(truth, 0.5)
    weights = (1 - 3 / 8, 1 - 5 / 8)  # (2a)
    dice = ((2 * 1.5 + SMOOTHING) / (4 + 3 + SMOOTHING), (2 * 2.5 + SMOOTHING) / (4 + 5 + SMOOTHING))  # (2b)
    expected = weights[0] * (1 - dice[0]) + weights[1] * (1 - dice[1])  # (2c)
    assert batch_dice_loss(probabilities, truth).item() == pytest.approx(expected)


def test_a_perfect_answer_loses_nothing():
    truth = torch.tensor([[[[1.0, 0]], [[0, 1.0]]]])
    assert batch_dice_loss(truth, truth).item() == 0


def test_a_run_learns_and_an_interrupted_one_ends_with_the_same_weights(cache, tmp_path, monkeypatch):
    cases = open_cache(cache, SPLIT)
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    train(RECIPE, Region.WT, cases, whole, CPU)
    log = [json.loads(line) for line in (whole / "log.jsonl").read_text().splitlines()]
    assert [entry["epoch"] for entry in log] == [1, 2, 3, 4, 5, 6]
    assert log[-1]["loss"] < 0.7 * log[0]["loss"]
    assert json.loads((whole / "wt.json").read_text())["training"]["cases"] == ["one", "two"]

    interrupt_at_step(17, cases, resumed, monkeypatch)  # in the third epoch
    train(RECIPE, Region.WT, cases, resumed, CPU)
    assert (resumed / "wt.safetensors").read_bytes() == (whole / "wt.safetensors").read_bytes()


def test_a_run_is_not_continued_with_another_recipe(cache, tmp_path):
    cases = open_cache(cache, SPLIT)
    train(replace(RECIPE, epochs=1), Region.WT, cases, tmp_path, CPU)
    with pytest.raises(ValueError, match="found one of another"):
        train(RECIPE, Region.WT, cases, tmp_path, CPU)


def interrupt_at_step(last, cases, run, monkeypatch):
    steps = count(1)

    def step_or_stop(*arguments):
        if next(steps) == last:
            raise KeyboardInterrupt
        return _step(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr("model_training.train._step", step_or_stop)
        with pytest.raises(KeyboardInterrupt):
            train(RECIPE, Region.WT, cases, run, CPU)


def test_evaluation_scores_the_served_pipeline_and_records_it(data, model, tmp_path, capsys):
    folder = save_model(tmp_path, model)
    scores = evaluate(load_model(folder, CPU), data, ["one", "two"], "validation")
    assert sorted(scores) == ["one", "two"]
    means = mean_dice(scores)
    assert means["cases"] == 2
    assert means["dice_WT"] > 0.9

    print_table({"validation": scores})
    assert f"{means['dice_WT']:.3f}" in capsys.readouterr().out
    record_scores(folder, load_model(folder, CPU), {"validation": means})
    assert load_model(folder, CPU).checkpoints[0].card.scores["validation"] == means
