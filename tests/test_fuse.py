import numpy as np

from service.segmentation.fuse import drop_small, nest


def test_the_inner_region_gives_way_and_every_changed_voxel_is_counted():
    whole = np.array([0, 0, 1, 1], dtype=bool)
    core = np.array([0, 1, 0, 1], dtype=bool)
    nested, changed = nest(core, whole)
    assert nested.tolist() == [False, False, False, True]
    assert changed == 1


def test_nested_masks_and_the_outermost_are_left_as_they_are():
    whole, core = np.array([1, 1, 1, 0], dtype=bool), np.array([1, 1, 0, 0], dtype=bool)
    for mask, outer in ((core, whole), (whole, None)):
        nested, changed = nest(mask, outer)
        assert np.array_equal(nested, mask)
        assert changed == 0


def test_a_region_below_its_smallest_volume_is_absent():
    mask = np.array([1, 1, 1, 0], dtype=bool)
    assert drop_small(mask, 0.03, voxel_ml=0.01).sum() == 3
    assert drop_small(mask, 0.031, voxel_ml=0.01).sum() == 0
