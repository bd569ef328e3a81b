import pytest
from support.known_networks import save_model
from tiny import SPLIT

from model_training.evaluate import (
    evaluate,
    mean_score,
    print_table,
    read_evaluation,
    record_scores,
    write_evaluation,
)
from service.segmentation.labels import Region
from service.segmentation.pipeline import segment
from service.segmentation.weights import load_model


@pytest.fixture(scope="module")
def evaluation(model, tiny_data):
    """The known networks on the tiny data."""
    return evaluate(model, tiny_data, SPLIT)


def test_validation_and_test_cases_are_scored_by_the_served_pipeline(evaluation, model, tiny_data):
    assert [(case.subset, case.name) for case in evaluation.cases] == [("validation", "three"), ("test", "four")]
    files = {path.name: path.read_bytes() for path in (tiny_data / "four").iterdir()}
    served = segment(files, model)
    [case] = evaluation.of("test")
    for region in Region:
        assert case.regions[region].agreement == served.agreement[region]
        assert case.regions[region].volume_ml == served.volumes_ml[region]
        assert case.regions[region].true_volume_ml > 0


def test_time_and_memory_are_measured(evaluation):
    assert all(case.seconds > 0 for case in evaluation.cases)
    assert evaluation.peak_memory_mib > 50


def test_an_evaluation_survives_its_file(evaluation, tmp_path):
    write_evaluation(tmp_path / "evaluation.json", evaluation)
    assert read_evaluation(tmp_path / "evaluation.json") == evaluation


def test_a_case_that_cannot_be_scored_is_named(model, tiny_data):
    with pytest.raises(ValueError, match=r"^damaged: T1Gd, T2, FLAIR: missing"):
        evaluate(model, tiny_data, {"train": [], "validation": ["damaged"], "test": []})
    with pytest.raises(ValueError, match=r"^absent: "):
        evaluate(model, tiny_data, {"train": [], "validation": ["absent"], "test": []})


def test_the_table_shows_cases_and_means(evaluation, capsys):
    print_table(evaluation)
    printed = capsys.readouterr().out
    for line in ("three", "four", "mean of 1", "mean of 2", f"{mean_score(evaluation.cases, Region.WT, 'dice'):.3f}"):
        assert line in printed


def test_cards_take_the_mean_scores(evaluation, model, tmp_path):
    folder = save_model(tmp_path, model)
    loaded = load_model(folder, model.device)
    record_scores(folder, loaded, evaluation)
    recorded = load_model(folder, model.device)
    assert recorded.sha256 == loaded.sha256
    scores = recorded.checkpoints[0].card.scores["test"]
    assert scores["cases"] == 1
    assert scores["dice_WT"] == pytest.approx(mean_score(evaluation.of("test"), Region.WT, "dice"), abs=1e-4)
