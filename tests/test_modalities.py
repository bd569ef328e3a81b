from dataclasses import replace

import numpy as np
import pytest
import torch

from model_training.modalities import (
    MISTAKES,
    cross_validate_modalities,
    print_detection,
    save_modality_network,
    train_modality_network,
)
from service.imaging.case import Modality
from service.imaging.errors import ModalityError
from service.imaging.normalise import normalise
from service.imaging.reading import read_case
from service.networks.errors import WeightsError
from service.networks.modality_network import (
    ModalityNetwork,
    load_modality_network,
    middle_slices,
    recognise,
    single_modality_inputs,
)
from service.segmentation import checks
from service.segmentation.modalities import find_contradiction
from service.segmentation.options import Options
from service.segmentation.pipeline import prepare, segment

CLEAR = np.log(np.full((4, 4), 0.02) + 0.92 * np.eye(4))  # each volume looks like its name


def test_images_that_look_like_their_names_are_no_contradiction():
    assert find_contradiction(CLEAR) is None


@pytest.mark.parametrize(("a", "b"), [(0, 1), (1, 3), (2, 3)])
def test_swapped_names_are_certain_and_named(a, b):
    order = [0, 1, 2, 3]
    order[a], order[b] = b, a
    contradiction = find_contradiction(CLEAR[order])
    names = list(Modality)
    assert contradiction.is_certain
    assert f"{names[a]} looks like {names[b]}, {names[b]} looks like {names[a]}" in contradiction.text


def test_a_swap_that_is_hardly_more_probable_is_not_certain():
    unsure = CLEAR.copy()
    unsure[:2, :2] = np.log([[0.4, 0.5], [0.4, 0.5]])  # margin: 0
    unsure[0, 1] += 0.5
    contradiction = find_contradiction(unsure)
    assert "T1 looks like T1Gd" in contradiction.text
    assert not contradiction.is_certain


def test_t1_in_place_of_t1gd_is_found():
    contradiction = find_contradiction(CLEAR[MISTAKES["T1 in place of T1Gd"][0]])
    assert "T1Gd looks like a T1" in contradiction.text
    assert not contradiction.is_certain


def test_one_odd_image_that_no_other_order_explains_is_no_contradiction():
    odd = CLEAR.copy()
    odd[2] = np.log([0.02, 0.02, 0.2, 0.76])  # a T2 that looks like FLAIR, beside a clear FLAIR
    assert find_contradiction(odd) is None


def test_slices_are_taken_from_the_middle_and_padded_to_one_size():
    intensities = np.zeros((4, 30, 201, 101), np.float32)
    intensities[..., 24:77] = 1
    slices = middle_slices(intensities)
    assert slices.shape == (12, 4, 192, 160)
    assert slices.sum() == 12 * 4 * 30 * 192  # 201 rows are cropped, 30 columns are padded


def test_the_inputs_of_a_modality_are_consecutive():
    slices = torch.arange(4.0).view(1, 4, 1, 1).expand(3, 4, 8, 8)
    inputs = single_modality_inputs(slices)
    assert inputs.shape == (12, 1, 4, 4)
    assert inputs[:, 0, 0, 0].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_recognised_probabilities_sum_to_one():
    intensities = np.random.default_rng(0).normal(size=(4, 40, 50, 20)).astype(np.float32)
    assert np.allclose(np.exp(recognise(ModalityNetwork().eval(), intensities)).sum(axis=1), 1)


def test_a_swapped_case_is_rejected_unless_the_names_are_trusted(phantom_files, model, monkeypatch):
    checked = replace(model, modality_network=ModalityNetwork())
    monkeypatch.setattr(checks, "recognise", lambda *_: CLEAR[[0, 1, 3, 2]])
    with pytest.raises(ModalityError, match=r"T2 looks like FLAIR, FLAIR looks like T2\. .*\?trust_names=true"):
        prepare(read_case(phantom_files), checked)
    trusted = segment(phantom_files, checked, Options(trust_names=True))
    assert "T2 looks like FLAIR" in trusted.review_reasons[0]


def test_the_names_of_a_case_with_skull_are_not_checked(phantom_files, model, monkeypatch):
    checked = replace(model, modality_network=ModalityNetwork())
    monkeypatch.setattr(checks, "recognise", lambda *_: CLEAR[[0, 1, 3, 2]])
    monkeypatch.setattr(checks, "MAX_BRAIN_ML", 1)
    assert segment(phantom_files, checked).review_reasons[0].startswith("The scan is probably not skull-stripped")


def test_a_doubtful_name_leads_to_a_review(phantom_files, model, monkeypatch):
    checked = replace(model, modality_network=ModalityNetwork())
    monkeypatch.setattr(checks, "recognise", lambda *_: CLEAR[MISTAKES["T1 in place of T1Gd"][0]])
    assert "T1 without contrast agent" in segment(phantom_files, checked).review_reasons[0]


def test_training_is_reproducible_and_cross_validation_reports_every_mistake(tiny_cases, tmp_path, capsys):
    cases = {case.name: case for case in [*tiny_cases["train"], *tiny_cases["validation"]]}
    folds = [{"train": ["one", "three"], "test": ["two"]}, {"train": ["two"], "test": ["one", "three"]}]
    recognised = cross_validate_modalities(cases, folds, steps=2, seed=1)
    assert len(recognised) == 3
    print_detection(recognised)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" trials")[0].split()[-1] for line in lines] == ["3", "18", "3"]
    network = train_modality_network([cases["two"]], 2, 1)
    assert np.array_equal(recognise(network, cases["one"].volumes), recognised[1])
    save_modality_network(tmp_path / "m.safetensors", network, {"cases": "two"})
    loaded = load_modality_network(tmp_path / "m.safetensors")
    assert np.array_equal(recognise(loaded, cases["one"].volumes), recognised[1])


def test_damaged_weights_are_rejected(tmp_path):
    (tmp_path / "m.safetensors").write_bytes(b"damaged")
    with pytest.raises(WeightsError, match=r"m\.safetensors: expected the weights of the modality network"):
        load_modality_network(tmp_path / "m.safetensors")


def test_the_bundled_network_accepts_the_phantom(phantom_files):
    case = read_case(phantom_files)
    found = recognise(load_modality_network(), normalise(case.images).intensities)
    assert find_contradiction(found) is None
