import numpy as np
import pytest

from service.imaging.errors import LabelError
from service.imaging.labels import EnhancingLabel, Region, checked_label_map, label_map, region_masks


@pytest.mark.parametrize("enhancing", EnhancingLabel)
def test_labels_and_region_masks_convert_into_each_other(enhancing):
    labels = np.array([0, 1, 2, enhancing], dtype=np.uint8)
    masks = region_masks(labels)
    assert masks[Region.WT].tolist() == [False, True, True, True]
    assert masks[Region.TC].tolist() == [False, True, False, True]
    assert masks[Region.ET].tolist() == [False, False, False, True]
    assert label_map(masks, enhancing).tolist() == labels.tolist()


def test_labels_3_and_4_together_are_rejected():
    with pytest.raises(LabelError, match="both 3 and 4"):
        region_masks(np.array([0, 3, 4]))


def test_labels_that_were_stored_with_a_scale_are_rounded():
    stored = np.array([0, 1.00392, 1.99994, 4.00002], np.float32)
    assert checked_label_map(stored).tolist() == [0, 1, 2, 4]
    with pytest.raises(LabelError, match=r"found 1\.02"):
        checked_label_map(np.array([0, 1.02]))


@pytest.mark.parametrize("label", [5, -1, 1.5, np.nan])
def test_an_unknown_label_is_rejected_and_named(label):
    with pytest.raises(LabelError, match=f"found {label:g}"):
        region_masks(np.array([0, 1, label]))
