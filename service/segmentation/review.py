"""Reasons why a person should review a segmentation before anyone uses it."""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from service.imaging.labels import BACKGROUND, Region
from service.networks.model_card import QualityFit
from service.segmentation.quality import Quality

MIN_PREDICTED_DICE = 0.7
MAX_CHANGED_SHARE = 0.1  # of WT
NAMES: Mapping[Region, str] = {Region.WT: "tumour", Region.TC: "tumour core", Region.ET: "enhancing tumour"}


def reasons_for_review(
    labels: NDArray[np.uint8],
    volumes_ml: Mapping[Region, float],
    qualities: Mapping[Region, Quality],
    fits: Mapping[Region, QualityFit],
    changed_by_nesting_ml: float,
) -> Iterator[str]:
    """Yield the reasons, in words: empty, unreliable or unusual regions, a tumour cut off, networks that disagree.

    `labels` is the label map (X, Y, Z) on the grid of the input.
    """
    for region, volume_ml in volumes_ml.items():
        if volume_ml == 0:
            yield f"{region}: no {NAMES[region]} was found."
        elif region in qualities and (predicted := round(qualities[region].predicted_dice, 2)) < MIN_PREDICTED_DICE:
            yield f"{region}: the predicted Dice is {predicted:.2f}, below {MIN_PREDICTED_DICE}."
        if region in fits and volume_ml and not _within(volume_ml, fits[region].volume_ml):
            low, high = fits[region].volume_ml
            yield (
                f"{region}: its volume, {volume_ml:.1f} ml, is outside the range of the cases on which the quality "
                f"estimate was fitted, {low:.1f} to {high:.1f} ml."
            )
    if _reaches_edge(labels != BACKGROUND):
        yield "WT: the tumour reaches the edge of the field of view; a part of it may not have been imaged."
    if changed_by_nesting_ml > MAX_CHANGED_SHARE * volumes_ml[Region.WT]:
        yield (
            f"The networks disagree: {changed_by_nesting_ml:.1f} ml of inner regions were outside the region that "
            "should enclose them."
        )


def _within(volume_ml: float, limits_ml: tuple[float, float]) -> bool:
    low, high = limits_ml
    return low <= volume_ml <= high


def _reaches_edge(mask: NDArray[np.bool_]) -> bool:
    """Whether a mask contains a voxel in the first or last layer along an axis."""
    return any(bool(mask.take([0, -1], axis).any()) for axis in range(mask.ndim))
