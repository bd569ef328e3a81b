import numpy as np

from service.imaging.labels import Region
from service.segmentation.fuse import fuse

WT, TC, ET = Region


def row(*voxels: int) -> np.ndarray:
    """A mask with these voxels along the slice axis."""
    return np.array(voxels, dtype=bool)[None, None]


def test_each_region_takes_in_the_regions_inside_it_and_the_additions_are_counted():
    masks = {WT: np.array([[[1], [1], [0], [0]]], dtype=bool), TC: row(0).repeat(4, 1), ET: row(0).repeat(4, 1)}
    masks[TC][0, 2] = masks[ET][0, 3] = True
    fused, added = fuse(masks)
    assert fused[WT][0, :, 0].tolist() == [True, True, True, True]
    assert fused[TC][0, :, 0].tolist() == [False, False, True, True]
    assert fused[ET][0, :, 0].tolist() == [False, False, False, True]
    assert added == 3  # one in TC, two in WT


def test_nested_masks_are_unchanged():
    masks = {WT: row(1, 1, 1, 0), TC: row(0, 1, 1, 0), ET: row(0, 0, 1, 0)}
    fused, added = fuse(masks)
    assert all(np.array_equal(fused[region], masks[region]) for region in Region)
    assert added == 0


def test_inner_masks_count_only_in_the_slices_of_the_outermost_region():
    fused, added = fuse({WT: row(0, 1, 0), TC: row(1, 1, 0), ET: row(0, 0, 1)})
    assert [fused[region][0, 0].tolist() for region in Region] == [
        [False, True, False],
        [False, True, False],
        [False, False, False],
    ]
    assert added == 0
