import json
import re
import sys

import numpy as np
import pytest
from matplotlib.image import imread
from tiny import FIRST_SLICES

from model_training.__main__ import main
from model_training.split import read_split
from service.segmentation.labels import Region


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["model_training", *map(str, arguments)])
    main()


@pytest.fixture(scope="module")
def story(tiny_data, tmp_path_factory):
    """From a folder of cases to a report, by the commands that a user gives."""
    folder = tmp_path_factory.mktemp("story")
    cache, mine = folder / "cache", folder / "mine"
    split = folder / "chosen.json"
    split.write_text(json.dumps({"train": ["one", "two", "damaged"], "validation": ["three"], "test": ["four"]}))
    recipe = [f"--set={change}" for change in ("network.width=4", "network.depth=2", "training.epochs=2")]
    with pytest.MonkeyPatch.context() as patch:
        run(patch, "prepare", tiny_data, "--split", split, "--cache", cache)
        run(patch, "train", "unet-2c-au", "--cache", cache, "--out", mine, *recipe, "--set=augmentation.copies=1")
        weights = ["--weights", mine / "weights", "--split", mine / "split.json"]
        run(patch, "evaluate", tiny_data, *weights, "--out", mine / "evaluation.json", "--record")
        run(patch, "report", mine, "--cache", cache, "--out", folder / "report")
    return folder


def test_the_page_has_the_table_every_case_and_the_figures(story):
    page = (story / "report" / "report.md").read_text()
    numbers = json.loads((story / "report" / "report.json").read_text())
    scores, precision = numbers["means"]["mine"], numbers["evaluations"]["mine"]["precision"]
    dice = " | ".join(f"{scores[region]['dice']:.3f}" for region in Region)
    assert f"| mine | {dice} | cpu, {precision} |" in page
    assert "| *U-Net 2C AU, published* | 0.905 | 0.903 | 0.822 | GTX 1050 Ti | 630 | 2 |" in page
    assert len(re.findall(r"^\| four \| (WT|TC|ET) ", page, flags=re.MULTILINE)) == 3
    shown = re.findall(r"\]\((\w+\.png)\)", page)
    assert shown == ["modalities.png", "augmented.png", "masks.png", "curves.png"]
    for name in shown:
        picture = imread(story / "report" / name)
        assert picture.shape[1] > 800
        assert np.ptp(picture[..., :3]) > 0.5


def test_the_cards_have_the_scores(story):
    card = json.loads((story / "mine" / "weights" / "wt.json").read_text())
    assert card["scores"]["test"]["cases"] == 1
    assert card["name"] == "unet-2c-au"


def test_without_a_split_one_is_drawn_and_damaged_cases_are_named(tiny_data, tmp_path, monkeypatch, capsys):
    run(monkeypatch, "prepare", tiny_data, "--cache", tmp_path)
    printed = capsys.readouterr().out
    assert "left out damaged: T1Gd, T2, FLAIR: missing" in printed
    assert "cases left out: 1" in printed
    split = read_split(tmp_path / "split.json")
    assert sorted(name for names in split.values() for name in names) == sorted(FIRST_SLICES)


def test_a_dry_run_tells_memory_and_time_and_leaves_nothing(tiny_cache, tmp_path, monkeypatch, capsys):
    tiny = ["--set=network.width=2", "--set=network.depth=2"]
    run(monkeypatch, "train", "unet-2c", "--cache", tiny_cache, "--out", tmp_path / "run", "--dry-run", *tiny)
    printed = capsys.readouterr().out
    assert re.search(r"networks +3 of 0\.00 million parameters, on slices of \d+ x \d+", printed)
    assert re.search(r"a step +\d+\.\d\d s and \d+ MiB at batch 10, on cpu", printed)
    assert re.search(r"the run +3 x 80 epochs x 2 steps: \d+ minutes", printed)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "absent.toml", "--cache", "{cache}", "--out", "x"], "expected a TOML file or one of default"),
        (["train", "unet-2c", "--cache", "absent", "--out", "x"], "split.json: expected this file, found none"),
        (["train", "unet-2c", "--cache", "{cache}", "--out", "x", "--set=network.wide=1"], "network.wide: Extra"),
        (["train", "unet-2c", "--cache", "{cache}", "--out", "x", "--set=no"], "--set no: expected TOML, as in"),
        (["prepare", "absent", "--cache", "x"], "absent: expected folders with NIfTI files"),
        (["report", "absent", "--cache", "{cache}", "--out", "x"], "evaluate --out writes it"),
    ],
)
def test_a_mistake_is_one_line(arguments, message, tiny_cache, monkeypatch):
    with pytest.raises(SystemExit, match=re.escape(message)):
        run(monkeypatch, *(argument.format(cache=tiny_cache) for argument in arguments))


def test_cases_without_training_data_are_refused(tiny_cache, tmp_path, monkeypatch):
    (tmp_path / "split.json").write_text(json.dumps({"train": ["absent"], "validation": [], "test": []}))
    with pytest.raises(SystemExit, match="expected training cases, found none"):
        run(monkeypatch, "train", "unet-2c", "--cache", tiny_cache, "--split", tmp_path / "split.json", "--out", "x")
