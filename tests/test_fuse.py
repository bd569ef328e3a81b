import numpy as np

from service.imaging.labels import Region
from service.segmentation.fuse import fuse, slices_with

WT, TC, ET = Region


def row(*voxels: int) -> np.ndarray:
    """A mask with these voxels along the slice axis."""
    return np.array(voxels, dtype=bool)[None, None]


def test_tc_is_extended_by_et_and_both_are_restricted_to_wt():
    fused, changed = fuse({WT: row(1, 1, 1, 1, 0), TC: row(0, 1, 0, 0, 1), ET: row(0, 0, 1, 0, 1)})
    assert np.array_equal(fused[WT], row(1, 1, 1, 1, 0))
    assert np.array_equal(fused[TC], row(0, 1, 1, 0, 0))
    assert np.array_equal(fused[ET], row(0, 0, 1, 0, 0))
    assert changed == 3  # one removed from ET; in TC one removed and one added


def test_nested_masks_are_unchanged():
    masks = {WT: row(1, 1, 1, 0), TC: row(0, 1, 1, 0), ET: row(0, 0, 1, 0)}
    fused, changed = fuse(masks)
    assert all(np.array_equal(fused[region], masks[region]) for region in Region)
    assert changed == 0


def test_the_order_of_the_masks_does_not_matter():
    masks = {ET: row(0, 1, 1), WT: row(1, 1, 0), TC: row(1, 0, 0)}
    fused, changed = fuse(masks)
    assert list(fused) == [ET, WT, TC]  # as given
    assert np.array_equal(fused[TC], row(1, 1, 0))
    assert changed == 2


def test_one_region_alone_is_unchanged():
    fused, changed = fuse({TC: row(0, 1)})
    assert np.array_equal(fused[TC], row(0, 1))
    assert changed == 0


def test_slices_with_a_mask_are_listed():
    assert slices_with(row(0, 1, 0, 1)).tolist() == [1, 3]
