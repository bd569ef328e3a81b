import pytest
from support.known_networks import known_model, save_model
from tiny import SPLIT

from model_training.choose import choose, choose_smallest_ml
from model_training.evaluate import CaseScore, RegionScore, evaluate
from service.segmentation.labels import Region
from service.segmentation.measure import Agreement
from service.segmentation.weights import load_model


def case(volume_ml, true_volume_ml, dice):
    score = RegionScore(Agreement(dice, dice, 1.0, 5.0), volume_ml, true_volume_ml)
    return CaseScore("validation", f"{volume_ml}", 1.0, {Region.ET: score})


def test_false_specks_are_called_absent_and_true_tumours_are_not():
    cases = [case(0.15, 0, 0.0), case(0.3, 0.4, 0.7), case(30, 31, 0.9)]
    assert choose_smallest_ml(cases, Region.ET) == 0.2


def test_where_nothing_is_gained_nothing_is_dropped():
    assert choose_smallest_ml([case(0.15, 0.2, 0.5), case(30, 31, 0.9)], Region.ET) == 0


def test_what_was_chosen_is_on_the_cards_and_the_weights_stay(phantom, tiny_data, tmp_path, capsys):
    folder = save_model(tmp_path, known_model(phantom))
    before = load_model(folder, known_model(phantom).device)
    choose(folder, before, tiny_data, SPLIT)
    assert "ET absent below  0.5 ml: mean Dice" in capsys.readouterr().out
    after = load_model(folder, before.device)
    assert [c.card.sha256 for c in after.checkpoints] == [c.card.sha256 for c in before.checkpoints]
    assert not any(c.card.mirrored for c in after.checkpoints)  # these networks answer a mirrored brain alike
    assert evaluate(after, tiny_data, SPLIT).cases[0].regions == evaluate(before, tiny_data, SPLIT).cases[0].regions


def test_choosing_takes_validation_cases(model, tiny_data, tmp_path):
    with pytest.raises(ValueError, match="expected validation cases"):
        choose(tmp_path, model, tiny_data, SPLIT | {"validation": []})
