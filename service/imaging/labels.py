"""The label numbers of BraTS and the three nested regions; no other module writes a label number."""

from collections.abc import Mapping
from enum import IntEnum, StrEnum

import numpy as np
from numpy.typing import NDArray

from service.imaging.errors import LabelError

BACKGROUND = 0
NECROTIC_CORE = 1  # necrotic and non-enhancing tumour core (NCR/NET)
OEDEMA = 2  # peritumoural oedema (ED)
MAX_ROUNDING = 0.01


class EnhancingLabel(IntEnum):
    """Label number of the enhancing tumour: 4 in BraTS until 2022, 3 from 2023."""

    BRATS_2023 = 3
    BRATS_2022 = 4


class Region(StrEnum):
    """The three nested regions that BraTS scores, from the outermost to the innermost."""

    WT = "WT"  # whole tumour: every label
    TC = "TC"  # tumour core: necrotic core and enhancing tumour
    ET = "ET"  # enhancing tumour


RegionMasks = Mapping[Region, NDArray[np.bool_]]


def label_map(masks: RegionMasks, enhancing: EnhancingLabel) -> NDArray[np.uint8]:
    """Label of each voxel, from nested region masks of one shape."""
    labels = np.where(masks[Region.WT], np.uint8(OEDEMA), np.uint8(BACKGROUND))
    labels[masks[Region.TC]] = NECROTIC_CORE
    labels[masks[Region.ET]] = enhancing
    return labels


def region_masks(labels: NDArray[np.generic]) -> dict[Region, NDArray[np.bool_]]:
    """Nested region masks of a label map with labels 1, 2, 4 or 1, 2, 3.

    Raises LabelError if the map contains another value, or both 3 and 4.
    """
    whole, core, oedema = labels != BACKGROUND, labels == NECROTIC_CORE, labels == OEDEMA
    enhancing_masks = [labels == number for number in EnhancingLabel]
    enhancing = np.logical_or(*enhancing_masks)
    if (unknown := whole & ~(core | oedema | enhancing)).any():
        listed = ", ".join(f"{value:g}" for value in np.unique(labels[unknown])[:5])
        raise LabelError(f"Ground truth: expected labels 0, 1, 2, 4 or 0, 1, 2, 3, found {listed}.")
    if all(mask.any() for mask in enhancing_masks):
        raise LabelError("Ground truth: expected labels 0, 1, 2, 4 or 0, 1, 2, 3, found both 3 and 4.")
    return {Region.WT: whole, Region.TC: core | enhancing, Region.ET: enhancing}


def checked_label_map(labels: NDArray[np.generic]) -> NDArray[np.uint8]:
    """A ground truth's labels in the numbers of BraTS until 2022, one byte per voxel. Raises LabelError.

    Values as near to a whole number as MAX_ROUNDING stand for it: some programs store labels with a scale.
    """
    if labels.dtype.kind == "f":
        whole = np.rint(labels)
        labels = np.where(np.abs(labels - whole) <= MAX_ROUNDING, whole, labels)
    return label_map(region_masks(labels), EnhancingLabel.BRATS_2022)
