import json
import re
import sys

import numpy as np
import pytest
from matplotlib.image import imread
from tiny import FIRST_SLICES

from model_training.__main__ import main
from model_training.data.split import read_split
from service.imaging.labels import Region

TINY = ("--set=network.width=4", "--set=network.depth=2", "--set=training.epochs=2")


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["model_training", *map(str, arguments)])
    main()


@pytest.fixture(scope="module")
def workflow(tiny_data, tmp_path_factory):
    """From case folders to a report, with the subcommands that a user runs."""
    folder = tmp_path_factory.mktemp("workflow")
    cache, mine = folder / "cache", folder / "mine"
    split = folder / "chosen.json"
    split.write_text(json.dumps({"train": ["one", "two", "damaged"], "validation": ["three"], "test": ["four"]}))
    with pytest.MonkeyPatch.context() as patch:
        run(patch, "prepare", tiny_data, "--split", split, "--cache", cache)
        run(patch, "train", "unet-2c-au", "--cache", cache, "--out", mine, *TINY, "--set=augmentation.copies=1")
        weights = ["--weights", mine / "weights", "--split", mine / "split.json"]
        run(patch, "evaluate", tiny_data, *weights, "--out", mine / "evaluation.json", "--record")
        run(patch, "report", mine, "--cache", cache, "--out", folder / "report")
    return folder


def test_the_report_has_the_table_every_case_and_the_figures(workflow):
    page = (workflow / "report" / "report.md").read_text()
    numbers = json.loads((workflow / "report" / "report.json").read_text())
    means, precision = numbers["means"]["mine"], numbers["evaluations"]["mine"]["precision"]
    dice = " | ".join(f"{means[region]['dice']:.3f}" for region in Region)
    assert f"| mine | {dice} | cpu, {precision} |" in page
    assert "| *U-Net 2C AU, published* | 0.905 | 0.903 | 0.822 | GTX 1050 Ti | 630 | 2 |" in page
    assert len(re.findall(r"^\| four \| (WT|TC|ET) ", page, flags=re.MULTILINE)) == 3
    shown = re.findall(r"\]\((\w+\.png)\)", page)
    assert shown == ["modalities.png", "augmented.png", "masks.png", "curves.png"]
    for name in shown:
        picture = imread(workflow / "report" / name)
        assert picture.shape[1] > 800
        assert np.ptp(picture[..., :3]) > 0.5


def test_evaluate_records_the_scores_on_the_model_cards(workflow):
    evaluation = json.loads((workflow / "mine" / "evaluation.json").read_text())
    [four] = [case for case in evaluation["cases"] if case["subset"] == "test"]
    for region in ("wt", "tc", "et"):
        card = json.loads((workflow / "mine" / "weights" / f"{region}.json").read_text())
        assert card["name"] == "unet-2c-au"
        assert card["scores"]["test"]["cases"] == 1
        assert card["scores"]["test"]["dice_TC"] == round(four["regions"]["TC"]["scores"]["dice"], 4)


def test_train_starts_from_the_weights_of_another_run(workflow, monkeypatch):
    source, out = workflow / "mine" / "weights", workflow / "warm"
    options = ["--cache", workflow / "cache", "--out", out, "--initial-weights", source]
    run(monkeypatch, "train", "unet-2c", *options, *TINY, "--set=training.patch_size=[48,48]")
    origin = json.loads((out / "initial_weights.json").read_text())
    assert [record["recipe"]["name"] for record in origin["training"]] == ["unet-2c-au"] * 3
    assert json.loads((out / "weights" / "et.json").read_text())["training"]["initial_weights"] == origin


def test_prepare_draws_a_random_split_by_default_and_prints_skipped_cases(tiny_data, tmp_path, monkeypatch, capsys):
    run(monkeypatch, "prepare", tiny_data, "--cache", tmp_path)
    printed = capsys.readouterr().out
    assert "skipped damaged: T1: expected a whole image" in printed
    assert "skipped cases: 1" in printed
    split = read_split(tmp_path / "split.json")
    assert sorted(name for names in split.values() for name in names) == sorted(FIRST_SLICES)


def test_a_dry_run_prints_memory_and_time_and_writes_nothing(tiny_cache, tmp_path, monkeypatch, capsys):
    tiny = ["--set=network.width=2", "--set=network.depth=2"]
    run(monkeypatch, "train", "unet-2c", "--cache", tiny_cache, "--out", tmp_path / "run", "--dry-run", *tiny)
    printed = capsys.readouterr().out
    assert re.search(r"networks +3 with 0\.00 million parameters each, patches of \d+ x \d+", printed)
    assert re.search(r"step +\d+\.\d\d s and \d+ MiB with batch size 10, on cpu", printed)
    assert re.search(r"peak memory +\d+ MiB of the whole process", printed)
    assert re.search(r"run +3 x 80 epochs x 2 steps: \d+ minutes", printed)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "absent.toml", "--cache", "{cache}", "--out", "x"], "expected a TOML file or one of default"),
        (["train", "unet-2c", "--cache", "absent", "--out", "x"], "split.json: expected this file, found none"),
        (["train", "unet-2c", "--cache", "{cache}", "--out", "x", "--set=network.wide=1"], "network.wide: Extra"),
        (["train", "unet-2c", "--cache", "{cache}", "--out", "x", "--set=no"], "--set no: expected TOML, as in"),
        (["prepare", "absent", "--cache", "x"], "absent: expected one folder with NIfTI files for each case"),
        (["report", "absent", "--cache", "{cache}", "--out", "x"], "evaluate --out writes it"),
    ],
)
def test_an_error_is_reported_on_one_line(arguments, message, tiny_cache, monkeypatch):
    with pytest.raises(SystemExit, match=re.escape(message)) as raised:
        run(monkeypatch, *(argument.format(cache=tiny_cache) for argument in arguments))
    assert "\n" not in raised.value.code


def test_a_split_without_training_cases_in_the_cache_is_rejected(tiny_cache, tmp_path, monkeypatch):
    (tmp_path / "split.json").write_text(json.dumps({"train": ["absent"], "validation": [], "test": []}))
    with pytest.raises(SystemExit, match="expected training cases, found none"):
        run(monkeypatch, "train", "unet-2c", "--cache", tiny_cache, "--split", tmp_path / "split.json", "--out", "x")
