import numpy as np

from service.segmentation.fuse import drop_small, nest


def test_nesting_removes_voxels_outside_the_outer_region_and_counts_them():
    whole = np.array([0, 0, 1, 1], dtype=bool)
    core = np.array([0, 1, 0, 1], dtype=bool)
    nested, changed = nest(core, whole)
    assert nested.tolist() == [False, False, False, True]
    assert changed == 1


def test_nested_masks_and_the_outermost_mask_are_unchanged():
    whole, core = np.array([1, 1, 1, 0], dtype=bool), np.array([1, 1, 0, 0], dtype=bool)
    for mask, outer in ((core, whole), (whole, None)):
        nested, changed = nest(mask, outer)
        assert np.array_equal(nested, mask)
        assert changed == 0


def test_a_region_below_the_minimum_volume_is_removed():
    mask = np.array([1, 1, 1, 0], dtype=bool)
    assert drop_small(mask, 0.03, voxel_ml=0.01).sum() == 3
    assert drop_small(mask, 0.031, voxel_ml=0.01).sum() == 0
