import shutil

import pytest
from support.known_networks import CPU
from tiny import FIRST_SLICES, ONE_NETWORK, change

from model_training.cross_validate import Fold, cross_validate, merge
from model_training.evaluation.evaluate import CaseResult, Evaluation, read_evaluation
from model_training.training.train import NetworkTrainer
from service.networks.checkpoints import load_model

RECIPE = change(ONE_NETWORK, "training", epochs=1)
FOLDS = [
    Fold({"train": ["one", "four"], "validation": [], "test": ["three", "two"]}),
    Fold({"train": ["two", "three"], "validation": [], "test": ["four", "one"]}),
]


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """The folder of the cross-validation."""
    return tmp_path_factory.mktemp("cross-validation")


@pytest.fixture(scope="module")
def run(tiny_data, tiny_cache):
    """A function that cross-validates the recipe in a folder."""
    return lambda folder: cross_validate(RECIPE, FOLDS, tiny_data, tiny_cache, folder)


@pytest.fixture(scope="module")
def whole(run, out):
    """The evaluation of all folds."""
    return run(out)


def test_every_case_is_evaluated_once(whole):
    assert [case.name for case in whole.cases] == sorted(FIRST_SLICES)
    assert {case.subset for case in whole.cases} == {"test"}


def test_a_case_is_evaluated_by_the_network_that_was_not_trained_on_it(whole, out):
    for number, fold in enumerate(FOLDS, start=1):
        model = load_model(out / str(number) / "weights", CPU)
        assert model.checkpoints[0].card.training["cases"] == fold.split["train"]
        evaluation = read_evaluation(out / str(number) / "evaluation.json")
        assert evaluation.sha256 == model.sha256
        assert [case.name for case in evaluation.cases] == fold.split["test"]
        assert all(case in whole.cases for case in evaluation.cases)


def test_the_evaluation_of_all_folds_is_written(whole, out):
    assert read_evaluation(out / "evaluation.json") == whole


def test_a_second_call_neither_trains_nor_evaluates(whole, run, out, monkeypatch):
    monkeypatch.setattr("model_training.cross_validate.evaluate", lambda *_: pytest.fail("this fold is finished"))
    monkeypatch.setattr(NetworkTrainer, "step", lambda *_: pytest.fail("this fold is finished"))
    assert run(out) == whole


@pytest.mark.usefixtures("whole")
def test_another_recipe_in_the_same_folder_is_rejected(out, tiny_data, tiny_cache):
    other = change(RECIPE, "training", seed=2)
    with pytest.raises(ValueError, match=r"expected a run with the same recipe\.json, found another"):
        cross_validate(other, FOLDS, tiny_data, tiny_cache, out)


def test_an_interrupted_cross_validation_continues_with_the_unfinished_fold(whole, run, out, tmp_path, monkeypatch):
    shutil.copytree(out, tmp_path, dirs_exist_ok=True)
    (tmp_path / "2" / "evaluation.json").unlink()
    monkeypatch.setattr(NetworkTrainer, "step", lambda *_: pytest.fail("the training is finished"))
    resumed = run(tmp_path)
    assert [case.regions for case in resumed.cases] == [case.regions for case in whole.cases]


def evaluation_of(model: str, peak_memory_mib: float, *names: str) -> Evaluation:
    cases = [CaseResult("test", name, 1.0, {}) for name in names]
    return Evaluation(model, model, "cpu", "float32", peak_memory_mib, cases)


def test_merged_evaluations_have_all_cases_in_order_and_the_largest_peak_memory():
    merged = merge([evaluation_of("first", 10, "c", "a"), evaluation_of("second", 30, "b"), evaluation_of("third", 20)])
    assert merged == evaluation_of("first", 30, "a", "b", "c")
