import numpy as np

from service.segmentation.fuse import drop_small, nest
from service.segmentation.labels import Region


def test_inner_regions_give_way_and_every_changed_voxel_is_counted():
    whole = np.array([0, 0, 0, 0, 1, 1, 1, 1], dtype=bool)
    core = np.array([0, 0, 1, 1, 0, 0, 1, 1], dtype=bool)
    enhancing = np.array([0, 1, 0, 1, 0, 1, 0, 1], dtype=bool)
    nested, changed = nest({Region.WT: whole, Region.TC: core, Region.ET: enhancing})
    assert nested[Region.WT].tolist() == whole.tolist()
    assert nested[Region.TC].tolist() == [False] * 6 + [True] * 2
    assert nested[Region.ET].tolist() == [False] * 7 + [True]
    assert changed == 4  # all voxels of TC or ET that stood outside the region around them


def test_nested_masks_are_left_as_they_are():
    whole, core = np.array([1, 1, 1, 0], dtype=bool), np.array([1, 1, 0, 0], dtype=bool)
    nested, changed = nest({Region.WT: whole, Region.TC: core, Region.ET: np.zeros(4, dtype=bool)})
    assert (nested[Region.TC] == core).all()
    assert changed == 0


def test_a_region_below_its_smallest_volume_is_absent():
    masks = {region: np.array([1, 1, 1, 0], dtype=bool) for region in Region}
    kept = drop_small(masks, {"TC": 0.03, "ET": 0.031}, voxel_ml=0.01)
    assert [int(kept[region].sum()) for region in Region] == [3, 3, 0]
