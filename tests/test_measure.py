import numpy as np
import pytest

from service.segmentation.measure import score_region

EMPTY = np.zeros((20, 20, 20), dtype=bool)
SPACING_MM = (1.0, 1.0, 2.0)


def box(x: slice, y: slice = slice(4, 8), z: slice = slice(4, 8)) -> np.ndarray:
    mask = EMPTY.copy()
    mask[x, y, z] = True
    return mask


def test_scores_of_two_overlapping_boxes_match_a_hand_calculation():
    predicted, truth = box(slice(2, 8)), box(slice(4, 12))  # 96 and 128 voxels, 64 of them in both
    scores = score_region(predicted, truth, SPACING_MM)
    assert scores.dice == pytest.approx(2 * 64 / (96 + 128))
    assert scores.sensitivity == pytest.approx(64 / 128)
    assert scores.specificity == pytest.approx(1 - 32 / (8000 - 128))
    assert scores.hd95_mm == pytest.approx(4)


def test_distances_use_the_spacing_of_each_axis():
    near, far = box(slice(4, 8), z=slice(2, 3)), box(slice(4, 8), z=slice(7, 8))
    assert score_region(near, far, SPACING_MM).hd95_mm == pytest.approx(10)


def test_a_perfect_prediction_has_scores_of_one_and_distance_zero():
    scores = score_region(box(slice(2, 8)), box(slice(2, 8)), SPACING_MM)
    assert (scores.dice, scores.sensitivity, scores.specificity, scores.hd95_mm) == (1, 1, 1, 0)


def test_two_empty_masks_have_perfect_scores():
    scores = score_region(EMPTY, EMPTY, SPACING_MM)
    assert (scores.dice, scores.sensitivity, scores.specificity, scores.hd95_mm) == (1, 1, 1, 0)


@pytest.mark.parametrize("swapped", [False, True])
def test_one_empty_mask_has_scores_of_zero_and_the_brats_distance(swapped):
    masks = (box(slice(2, 8)), EMPTY)
    scores = score_region(*(reversed(masks) if swapped else masks), SPACING_MM)
    assert (scores.dice, scores.sensitivity, scores.hd95_mm) == (0, 0, 374)


def test_specificity_is_one_without_any_background():
    assert score_region(box(slice(2, 8)), ~EMPTY, SPACING_MM).specificity == 1


def test_dice_is_symmetric():
    a, b = box(slice(2, 8)), box(slice(5, 9))
    assert score_region(a, b, SPACING_MM).dice == score_region(b, a, SPACING_MM).dice
