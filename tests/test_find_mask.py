"""From the probability map of a network to the mask of its region."""

import numpy as np

from service.segmentation.predict import find_mask


def test_adjacent_slices_decide_about_uncertain_voxels_only():
    columns = [
        ((0, 255, 0), (0, 1, 0)),  # a certain voxel stays
        ((255, 0, 255), (1, 0, 1)),
        ((153, 115, 153), (1, 1, 1)),  # an uncertain one joins its neighbours
        ((115, 153, 115), (0, 1, 0)),
        ((77, 140, 77), (0, 0, 0)),
    ]
    probability = np.array([[column for column, _ in columns]], np.uint8)
    assert find_mask(probability, np.arange(3)).tolist() == [[list(map(bool, mask)) for _, mask in columns]]


def test_a_mask_in_which_the_network_is_not_confident_enough_is_empty():
    probability = np.full((2, 2, 2), 200, np.uint8)
    probability[0] = 255
    assert find_mask(probability, np.arange(2), min_confident_fraction=0.5).all()
    assert not find_mask(probability, np.arange(2), min_confident_fraction=0.6).any()


def test_slices_that_were_not_run_do_not_count_as_neighbours():
    probability = np.array([[[0, 130, 130, 0, 200]]], np.uint8)
    assert find_mask(probability, np.array([1, 2])).tolist() == [[[False, True, True, False, False]]]
