import pytest
from support.known_networks import known_model, save_model
from tiny import SPLIT

from model_training.evaluation.choose import choose, choose_flip_tta, choose_min_confident_fraction
from model_training.evaluation.evaluate import CaseResult, RegionResult, evaluate
from service.imaging.labels import Region
from service.networks.checkpoints import load_model
from service.segmentation.measure import Scores


def case(confident_fraction, true_volume_ml, dice):
    result = RegionResult(Scores(dice, dice, 1.0, 5.0), 10, true_volume_ml, confident_fraction)
    return CaseResult("validation", f"{confident_fraction}", 1.0, {Region.ET: result})


def test_the_minimum_confident_fraction_removes_uncertain_false_positives_and_keeps_true_tumours():
    cases = [case(0.65, 0, 0.0), case(0.75, 0.4, 0.7), case(0.95, 31, 0.9)]
    assert choose_min_confident_fraction(cases, Region.ET) == 0.7


def test_the_minimum_confident_fraction_is_zero_if_no_candidate_improves_dice():
    assert choose_min_confident_fraction([case(0.65, 0.2, 0.5), case(0.95, 31, 0.9)], Region.ET) == 0


def test_the_choice_is_written_to_the_model_cards_and_the_weights_do_not_change(phantom, tiny_data, tmp_path, capsys):
    folder = save_model(tmp_path, known_model(phantom))
    before = load_model(folder, known_model(phantom).device)
    choose(folder, before, tiny_data, SPLIT)
    assert "ET minimum confident fraction  0.5: mean Dice" in capsys.readouterr().out
    after = load_model(folder, before.device)
    assert [c.card.sha256 for c in after.checkpoints] == [c.card.sha256 for c in before.checkpoints]
    assert not any(c.card.flip_tta for c in after.checkpoints)  # these networks are invariant to flips
    assert evaluate(after, tiny_data, SPLIT).cases[0].regions == evaluate(before, tiny_data, SPLIT).cases[0].regions


@pytest.mark.parametrize(("gain", "expected"), [(-0.1, False), (0.0049, False), (0.0051, True)])
def test_flip_tta_is_chosen_only_if_it_gains_enough_dice(gain, expected):
    assert choose_flip_tta(all_regions(0.8), all_regions(0.8 + gain)) == expected


def all_regions(dice):
    result = RegionResult(Scores(dice, dice, 1.0, 5.0), 30, 31, 0.9)
    return [CaseResult("validation", "one", 1.0, dict.fromkeys(Region, result))]


def test_a_split_without_validation_cases_is_rejected(model, tiny_data, tmp_path):
    with pytest.raises(ValueError, match="expected validation cases, found none"):
        choose(tmp_path, model, tiny_data, SPLIT | {"validation": []})
