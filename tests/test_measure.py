import numpy as np
import pytest

from service.segmentation.measure import agreement

EMPTY = np.zeros((20, 20, 20), dtype=bool)
SPACING_MM = (1.0, 1.0, 2.0)


def box(x: slice, y: slice = slice(4, 8), z: slice = slice(4, 8)) -> np.ndarray:
    mask = EMPTY.copy()
    mask[x, y, z] = True
    return mask


def test_scores_of_two_overlapping_boxes_are_those_worked_by_hand():
    predicted, truth = box(slice(2, 8)), box(slice(4, 12))  # 96 and 128 voxels, 64 in common
    scores = agreement(predicted, truth, SPACING_MM)
    assert scores.dice == pytest.approx(2 * 64 / (96 + 128))
    assert scores.sensitivity == pytest.approx(64 / 128)
    assert scores.specificity == pytest.approx(1 - 32 / (8000 - 128))
    assert scores.hd95_mm == pytest.approx(4)


def test_distances_are_in_millimetres_along_each_axis():
    near, far = box(slice(4, 8), z=slice(2, 3)), box(slice(4, 8), z=slice(7, 8))
    assert agreement(near, far, SPACING_MM).hd95_mm == pytest.approx(10)


def test_a_perfect_answer_scores_one_and_no_distance():
    scores = agreement(box(slice(2, 8)), box(slice(2, 8)), SPACING_MM)
    assert (scores.dice, scores.sensitivity, scores.specificity, scores.hd95_mm) == (1, 1, 1, 0)


def test_two_empty_masks_agree_perfectly():
    scores = agreement(EMPTY, EMPTY, SPACING_MM)
    assert (scores.dice, scores.sensitivity, scores.specificity, scores.hd95_mm) == (1, 1, 1, 0)


@pytest.mark.parametrize("swapped", [False, True])
def test_one_empty_mask_scores_zero_and_the_distance_of_brats(swapped):
    masks = (box(slice(2, 8)), EMPTY)
    scores = agreement(*(reversed(masks) if swapped else masks), SPACING_MM)
    assert (scores.dice, scores.sensitivity, scores.hd95_mm) == (0, 0, 374)


def test_a_truth_without_background_leaves_nothing_to_be_unspecific_about():
    assert agreement(box(slice(2, 8)), ~EMPTY, SPACING_MM).specificity == 1


def test_dice_is_symmetric():
    a, b = box(slice(2, 8)), box(slice(5, 9))
    assert agreement(a, b, SPACING_MM).dice == agreement(b, a, SPACING_MM).dice
