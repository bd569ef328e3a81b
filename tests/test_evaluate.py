import json

import pytest
from support.known_networks import save_model
from tiny import SPLIT

from model_training.evaluation.evaluate import (
    METRICS,
    evaluate,
    mean_score,
    print_table,
    read_evaluation,
    record_scores,
    write_evaluation,
)
from service.imaging.labels import Region
from service.networks.checkpoints import load_model
from service.segmentation.pipeline import segment


@pytest.fixture(scope="module")
def evaluation(model, tiny_data):
    """Evaluation of the known networks on the tiny data."""
    return evaluate(model, tiny_data, SPLIT)


def test_validation_and_test_cases_have_the_scores_of_the_service_s_pipeline(evaluation, model, tiny_data):
    assert [(case.subset, case.name) for case in evaluation.cases] == [("validation", "three"), ("test", "four")]
    files = {path.name: path.read_bytes() for path in (tiny_data / "four").iterdir()}
    served = segment(files, model)
    [case] = evaluation.of("test")
    for region in Region:
        assert case.regions[region].scores == served.scores[region]
        assert case.regions[region].volume_ml == served.volumes_ml[region]
        assert case.regions[region].true_volume_ml > 0


def test_time_and_memory_are_measured(evaluation):
    assert all(0 < case.seconds < 60 for case in evaluation.cases)
    assert 50 < evaluation.peak_memory_mib < 64 * 1024


def test_an_evaluation_is_read_as_it_was_written(evaluation, tmp_path):
    write_evaluation(tmp_path / "evaluation.json", evaluation)
    assert read_evaluation(tmp_path / "evaluation.json") == evaluation


def test_an_evaluation_in_another_format_is_rejected(evaluation, tmp_path):
    path = tmp_path / "evaluation.json"
    write_evaluation(path, evaluation)
    path.write_text(path.read_text().replace('"scores"', '"marks"'))
    with pytest.raises(ValueError, match=r"expected the current format \('scores'\); run evaluate again"):
        read_evaluation(path)
    path.write_text(json.dumps({"cases": [], "model": "known"}))
    with pytest.raises(ValueError, match="run evaluate again"):
        read_evaluation(path)


def test_a_case_that_cannot_be_evaluated_is_named(model, tiny_data):
    with pytest.raises(ValueError, match=r"^damaged: T1: expected a whole image"):
        evaluate(model, tiny_data, {"train": [], "validation": ["damaged"], "test": []})
    with pytest.raises(ValueError, match=r"^absent: "):
        evaluate(model, tiny_data, {"train": [], "validation": ["absent"], "test": []})


def test_the_mean_of_a_score_is_over_cases(evaluation):
    for metric in METRICS:
        values = [getattr(case.regions[Region.ET].scores, metric) for case in evaluation.cases]
        assert mean_score(evaluation.cases, Region.ET, metric) == pytest.approx(sum(values) / 2)


def test_the_table_has_the_scores_of_every_case_and_their_means(evaluation, capsys):
    print_table(evaluation)
    rows = {line[:32].strip(): line[32:].split() for line in capsys.readouterr().out.splitlines()[1:]}
    subsets = ["validation three", "validation mean of 1", "test       four", "test       mean of 1"]
    assert list(rows) == [*subsets, "all        mean of 2"]
    [four] = evaluation.of("test")
    dice = [f"{four.regions[region].scores.dice:.3f}" for region in Region]
    assert rows["test       four"] == dice + [f"{four.regions[region].scores.hd95_mm:.1f}" for region in Region]
    means = [f"{mean_score(evaluation.cases, region, 'dice'):.3f}" for region in Region]
    assert rows["all        mean of 2"][:3] == means


def test_the_mean_scores_are_recorded_on_the_model_cards_and_the_weights_do_not_change(evaluation, model, tmp_path):
    folder = save_model(tmp_path, model)
    loaded = load_model(folder, model.device)
    record_scores(folder, loaded, evaluation)
    recorded = load_model(folder, model.device)
    assert recorded.sha256 == loaded.sha256
    for checkpoint in recorded.checkpoints:
        scores = checkpoint.card.scores["test"]
        assert scores["cases"] == 1
        assert scores["dice_WT"] == pytest.approx(mean_score(evaluation.of("test"), Region.WT, "dice"), abs=1e-4)
