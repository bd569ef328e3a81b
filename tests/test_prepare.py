import shutil

import numpy as np
import pytest
from tiny import FIRST_SLICES

from model_training.prepare import Content, find_cases, open_cache, open_cases, prepare


def test_a_damaged_case_is_named_and_the_others_are_prepared(tiny_data, tmp_path):
    left_out = prepare(tiny_data, ["damaged", "one", "absent"], tmp_path)
    assert sorted(left_out) == ["absent", "damaged"]
    assert left_out["damaged"].startswith("T1Gd, T2, FLAIR: missing")
    assert [case.name for case in open_cases(tmp_path)] == ["one"]
    subsets = open_cache(tmp_path, {"train": ["damaged", "one"], "validation": [], "test": []})
    assert [case.name for case in subsets["train"]] == ["one"]


def test_without_names_every_case_is_prepared(tiny_data, tmp_path):
    assert list(prepare(tiny_data, None, tmp_path)) == ["damaged"]
    assert [case.name for case in open_cases(tmp_path)] == sorted(FIRST_SLICES)


def test_the_cache_holds_normalised_slices_with_their_labels(tiny_cases):
    [one, _] = tiny_cases["train"]
    assert one.scores.shape == (14, 4, *one.labels.shape[1:])
    assert isinstance(one.scores, np.memmap)
    inside = one.scores[:, 3][one.labels == 2]
    assert inside.mean() > 1  # oedema is bright in FLAIR
    assert one.has_enhancing
    assert np.array_equal(one.contents == Content.TUMOUR, one.labels.any(axis=(1, 2)))


def test_cases_are_found_behind_links(tiny_data, tmp_path):
    (tmp_path / "linked").symlink_to(tiny_data / "one")
    assert list(find_cases(tmp_path)) == ["linked"]


def test_cases_are_found_in_folders_within_folders(tiny_data, tmp_path):
    shutil.copytree(tiny_data / "one", tmp_path / "HGG" / "one")
    shutil.copytree(tiny_data / "two", tmp_path / "LGG" / "two")
    assert sorted(find_cases(tmp_path)) == ["one", "two"]


def test_a_case_that_is_there_twice_is_refused(tiny_data, tmp_path):
    for grade in ("HGG", "LGG"):
        shutil.copytree(tiny_data / "one", tmp_path / grade / "one")
    with pytest.raises(ValueError, match="found twice: one"):
        find_cases(tmp_path)


def test_a_folder_without_cases_is_refused(tmp_path):
    with pytest.raises(ValueError, match="found none"):
        find_cases(tmp_path)
