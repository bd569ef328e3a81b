"""Cases without all four modalities: training, pipeline and HTTP."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.api import open_answer, post_case, read_report
from support.case_files import make_zip
from support.known_networks import CPU, save_model
from support.running_service import ready_client
from tiny import ONE_NETWORK, change

from model_training.augmentation.intensity import drop_modalities
from model_training.augmentation.random_streams import RandomStreams
from model_training.cross_validate import Fold, cross_validate, evaluation_path, with_initial_weights
from model_training.evaluation.evaluate import read_evaluation
from service.imaging.case import Modality
from service.imaging.errors import ModalityError
from service.imaging.labels import Region
from service.imaging.names import role_of
from service.imaging.normalise import normalise
from service.networks.checkpoints import load_model
from service.networks.model import Model
from service.networks.model_card import MeasuredDice
from service.segmentation.modalities import find_contradiction
from service.segmentation.options import Options
from service.segmentation.pipeline import segment

ALLOWED = Options(allow_missing=True)
MEASURED = MeasuredDice(mean=0.81, low=0.66, high=0.93, cases=12)


def tolerant(model: Model, max_missing: int = 2) -> Model:
    """The model with cards that allow missing modalities, measured without T2."""
    checkpoints = []
    for checkpoint in model.checkpoints:
        measured = {str(region): {"T2": MEASURED} for region in checkpoint.card.regions}
        card = replace(checkpoint.card, max_missing=max_missing, dice_without=measured)
        checkpoints.append(replace(checkpoint, card=card))
    return replace(model, checkpoints=tuple(checkpoints))


def without(files: dict[str, bytes], *missing: Modality) -> dict[str, bytes]:
    return {name: data for name, data in files.items() if role_of(name) not in missing}


def test_modality_dropout_removes_one_or_two_modalities_from_all_slices_of_a_stack():
    stacks = torch.ones(3000, 3, 4, 2, 2)
    dropped = drop_modalities(stacks, RandomStreams(range(3000)))
    assert (dropped == dropped[:, :1, :, :1, :1]).all()
    is_missing = dropped[:, 0, :, 0, 0] == 0  # (B, 4)
    counts = is_missing.sum(dim=1)
    assert set(counts.tolist()) == {1, 2}
    assert (counts == 2).float().mean() == pytest.approx(1 / 3, abs=0.03)
    assert is_missing.float().mean(dim=0).numpy() == pytest.approx(np.full(4, 1 / 3), abs=0.03)


def test_a_missing_modality_is_zero_and_does_not_change_the_others(phantom):
    images = {modality: phantom[modality] for modality in Modality}
    whole = normalise(images).intensities
    del images[Modality.T1GD]
    found = normalise(images).intensities
    assert not found[1].any()
    assert np.array_equal(found[[0, 2, 3]], whole[[0, 2, 3]])


def test_a_case_is_segmented_without_a_modality_that_the_networks_do_not_need(phantom_files, model):
    files, forgiving = without(phantom_files, Modality.T2), tolerant(model)
    whole, found = segment(phantom_files, forgiving), segment(files, forgiving, ALLOWED)
    assert np.array_equal(found.labels.voxels, whole.labels.voxels)
    assert (whole.missing, found.missing) == ((), (Modality.T2,))
    assert found.review_reasons[0] == "T2: missing; the networks did without."
    assert {(quality.predicted_dice, quality.low, quality.high) for quality in found.qualities.values()} == {
        (0.81, 0.66, 0.93)
    }
    assert list(found.qualities) == list(Region)


def test_the_quality_without_modalities_is_unknown_if_it_was_not_measured(phantom_files, model):
    files = without(phantom_files, Modality.T2, Modality.T1)
    assert segment(files, tolerant(model), ALLOWED).qualities == {}


def test_missing_modalities_are_rejected_without_permission(phantom_files, model):
    hint = r"With \?allow_missing=true, up to 2 may be missing\.$"
    with pytest.raises(ModalityError, match=rf"^T2: missing; found .*{hint}"):
        segment(without(phantom_files, Modality.T2), tolerant(model))


def test_more_missing_modalities_than_the_networks_allow_are_rejected(phantom_files, model):
    three = without(phantom_files, Modality.T1, Modality.T2, Modality.FLAIR)
    with pytest.raises(ModalityError, match=r"^T1, T2, FLAIR: missing; found T1Gd, .* up to 2 may be missing\.$"):
        segment(three, tolerant(model), ALLOWED)
    with pytest.raises(ModalityError, match=r"^T2: missing; .* must be [^.]*\.$"):  # these need all four
        segment(without(phantom_files, Modality.T2), tolerant(model, max_missing=0), ALLOWED)


def test_names_are_never_certainly_wrong_if_one_is_missing():
    clear = np.log(np.full((4, 4), 0.02) + 0.92 * np.eye(4))
    assert find_contradiction(clear, [Modality.T1]) is None
    swapped = find_contradiction(clear[[0, 1, 3, 2]], [Modality.T1])
    assert swapped.text == "The images seem to have wrong names: T2 looks like FLAIR, FLAIR looks like T2."
    assert not swapped.is_certain
    shifted = find_contradiction(clear[[1, 0, 2, 3]], [Modality.T1])
    assert "T1Gd looks like T1." in shifted.text


def test_a_client_may_leave_out_a_modality_on_request(phantom_files, model, settings, tmp_path):
    case = make_zip(without(phantom_files, Modality.T2))
    weights = save_model(tmp_path / "weights", tolerant(model))
    with ready_client(settings.model_copy(update={"weights": weights})) as client:
        rejected = post_case(client, case)
        assert (rejected.status_code, rejected.json()["type"]) == (422, "urn:glioserve:problem:modalities")
        report = read_report(open_answer(post_case(client, case, "?allow_missing=true")))
        [card, *_] = client.get("/models").json()
    assert report["input"]["missing_modalities"] == ["T2"]
    assert report["review_recommended"]
    assert report["regions"]["ET"]["quality"] == {"predicted_dice": 0.81, "low": 0.66, "high": 0.93}
    assert card["dice_without"]["WT"]["T2"]["cases"] == 12


def test_networks_trained_with_modality_dropout_are_cross_validated_without_modalities(tiny_data, tiny_cache, tmp_path):
    splits = [{"train": ["one", "two"], "validation": [], "test": [name]} for name in ("three", "four")]
    plain = change(ONE_NETWORK, "training", epochs=1)
    cross_validate(plain, [Fold(split) for split in splits], tiny_data, tiny_cache, tmp_path / "first")
    folds = with_initial_weights(splits, tmp_path / "first")
    dropout = change(plain, "augmentation", modality_dropout=0.5)
    cross_validate(dropout, folds, tiny_data, tiny_cache, tmp_path / "second")
    before, after = (load_model(tmp_path / name / "2" / "weights", CPU) for name in ("first", "second"))
    assert (before.max_missing, after.max_missing) == (0, 2)
    assert after.checkpoints[0].card.training["initial_weights"]["sha256"] == before.sha256
    for missing in [*([modality] for modality in Modality), ["T1", "T2"]]:
        evaluation = read_evaluation(evaluation_path(tmp_path / "second", missing))
        assert list(evaluation.missing) == missing
        assert [case.name for case in evaluation.cases] == ["four", "three"]
    assert not evaluation_path(tmp_path / "first", ["T1"]).exists()
