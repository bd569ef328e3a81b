import numpy as np
import pytest

from service.imaging.labels import Region
from service.networks.model_card import QualityFit
from service.segmentation.quality import Quality
from service.segmentation.review import reasons_for_review

WT, TC, ET = Region
VOLUMES_ML = {WT: 50.0, TC: 20.0, ET: 10.0}
DISAGREEMENT = "The networks disagree: 5.1 ml of inner regions were outside the region that should enclose them."
CUT_OFF = "WT: the tumour reaches the edge of the field of view; a part of it may not have been imaged."


def labels(position: tuple[int, int, int] = (2, 2, 2)) -> np.ndarray:
    """A label map of 5 x 6 x 7 voxels with a tumour of one voxel."""
    voxels = np.zeros((5, 6, 7), np.uint8)
    voxels[position] = 4
    return voxels


def qualities(**predicted_dice: float) -> dict[Region, Quality]:
    """A quality of 0.9 for each region, except where another one is given."""
    return {region: Quality(predicted_dice.get(region, 0.9), 0.1, 0.95) for region in Region}


FITS = {region: QualityFit(0, 1, -1, 1, volume_ml=(2.0, 100.0), cases=50) for region in Region}


def reasons(label_map=None, volumes_ml=None, quality=None, fits=FITS, changed_by_nesting_ml=0.0) -> list[str]:
    """The reasons for a case that is good in every respect that is not given."""
    label_map = labels() if label_map is None else label_map
    volumes_ml = VOLUMES_ML | (volumes_ml or {})
    return list(reasons_for_review(label_map, volumes_ml, quality or qualities(), fits, changed_by_nesting_ml))


def test_there_is_no_reason_to_review_a_good_case():
    assert reasons() == []


@pytest.mark.parametrize(("region", "name"), [(WT, "tumour"), (TC, "tumour core"), (ET, "enhancing tumour")])
def test_an_empty_region_is_a_reason_and_the_only_one_about_it(region, name):
    found = reasons(volumes_ml={region: 0.0}, quality=qualities(**{region: 0.1}))
    assert found == [f"{region}: no {name} was found."]


def test_a_case_without_tumour_has_a_reason_for_each_region_and_no_other():
    found = reasons(np.zeros((5, 6, 7), np.uint8), dict.fromkeys(Region, 0.0))
    assert [reason.split(":")[0] for reason in found] == ["WT", "TC", "ET"]


def test_a_low_predicted_dice_is_a_reason():
    assert reasons(quality=qualities(TC=0.64)) == ["TC: the predicted Dice is 0.64, below 0.7."]
    assert reasons(quality=qualities(TC=0.7)) == []


def test_a_volume_outside_the_range_of_the_fit_is_a_reason():
    assert reasons(volumes_ml={WT: 250.04}) == [
        "WT: its volume, 250.0 ml, is outside the range of the cases on which the quality estimate was fitted, "
        "2.0 to 100.0 ml."
    ]
    [reason] = reasons(volumes_ml={ET: 1.9})
    assert reason.startswith("ET: its volume, 1.9 ml, is outside the range")


def test_the_limits_of_the_range_belong_to_it():
    assert reasons(volumes_ml={WT: 100.0, ET: 2.0}) == []


def test_a_volume_is_judged_only_where_there_is_a_fit():
    assert reasons(volumes_ml={WT: 250.0, TC: 1.0}, fits={}) == []


def test_weights_without_a_fit_give_no_reason_about_quality():
    assert list(reasons_for_review(labels(), VOLUMES_ML, {}, {}, 0.0)) == []


@pytest.mark.parametrize("position", [(0, 2, 2), (4, 2, 2), (2, 0, 2), (2, 5, 2), (2, 2, 0), (2, 2, 6)], ids=str)
def test_a_tumour_that_reaches_any_edge_of_the_image_is_a_reason(position):
    assert reasons(labels(position)) == [CUT_OFF]


@pytest.mark.parametrize("position", [(1, 1, 1), (3, 4, 5)], ids=str)
def test_a_tumour_one_voxel_from_the_edge_is_no_reason(position):
    assert reasons(labels(position)) == []


def test_networks_that_disagree_on_more_than_a_tenth_of_the_tumour_are_a_reason():
    assert reasons(changed_by_nesting_ml=5.1) == [DISAGREEMENT]
    assert reasons(changed_by_nesting_ml=5.0) == []


def test_all_reasons_are_given_in_the_order_of_the_regions():
    found = reasons(labels((0, 0, 0)), {WT: 150.0, ET: 0.0}, qualities(WT=0.2, TC=0.3), changed_by_nesting_ml=15.1)
    assert [reason[:12] for reason in found] == [
        "WT: the pred",
        "WT: its volu",
        "TC: the pred",
        "ET: no enhan",
        "WT: the tumo",
        "The networks",
    ]
