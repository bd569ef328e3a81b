"""The bundled weights: complete, described by their model cards, and able to find a tumour."""

import json
from dataclasses import astuple
from pathlib import Path

import pytest
import torch

from model_training.evaluation.evaluate import read_evaluation
from model_training.evaluation.quality import fit_quality
from service.imaging.case import Modality
from service.imaging.labels import Region
from service.networks.checkpoints import load_model
from service.networks.modality_network import BUNDLED as MODALITY_WEIGHTS
from service.segmentation.pipeline import segment
from service.settings import DEFAULT_WEIGHTS


@pytest.fixture(scope="module")
def default_model():
    return load_model(DEFAULT_WEIGHTS, torch.device("cpu"))


def test_there_is_one_network_for_each_region(default_model):
    assert sorted(c.card.regions for c in default_model.checkpoints) == [(region,) for region in sorted(Region)]


def test_every_model_card_states_training_cases_and_licence(default_model):
    for checkpoint in default_model.checkpoints:
        card = checkpoint.card
        assert len(set(card.training["cases"])) == 44
        assert card.training["recipe"]["name"] == card.name == "default"
        assert "Research use only" in card.licence
        assert "Not a medical device" in card.intended_use


def test_weights_without_held_out_cases_have_no_scores(default_model):
    for checkpoint in default_model.checkpoints:
        assert checkpoint.card.training["chosen_on"] == []
        assert checkpoint.card.scores == {}


def test_one_or_two_modalities_may_be_missing(default_model):
    assert default_model.max_missing == 2
    for missing in (*([modality] for modality in Modality), [Modality.T1, Modality.T2]):
        measured = default_model.dice_without(missing)
        assert list(measured) == list(Region)
        assert all(dice.cases == 44 and dice.low <= dice.high for dice in measured.values())


def test_the_default_weights_find_the_tumour_of_the_phantom(default_model, phantom_files):
    scores = segment(phantom_files, default_model).scores
    assert scores[Region.WT].dice > 0.7


def test_every_region_has_a_quality_estimate(default_model):
    assert {region: fit.cases for region, fit in default_model.quality.items()} == {"WT": 44, "TC": 43, "ET": 35}


def test_the_quality_estimate_is_the_one_fitted_on_the_published_cases(default_model):
    evaluation = read_evaluation(Path(__file__).parents[1] / "docs" / "evaluations" / "out-of-fold.json")
    for region, fit in default_model.quality.items():
        fitted = fit_quality(evaluation, region)
        assert astuple(fitted)[:4] == pytest.approx(astuple(fit)[:4], abs=1e-3)
        assert (fitted.volume_ml, fitted.cases) == (fit.volume_ml, fit.cases)


def test_the_modality_network_has_a_card():
    card = json.loads(MODALITY_WEIGHTS.with_suffix(".json").read_text())
    assert len(card["cases"].split(", ")) == 44
    assert "Research use only" in card["licence"]
