"""Whether a case is raw: as the scanner made it, and therefore to be prepared for the networks."""

from collections.abc import Iterator
from enum import StrEnum

import numpy as np

from service.imaging.case import Case
from service.imaging.volume import Volume

MAX_BRAIN_ML = 2500  # more than any human brain with its fluid; a head with its skull exceeds it


class Prepare(StrEnum):
    """Which cases to prepare: those that look raw, all, or none."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


def reasons_to_prepare(case: Case, prepare: Prepare) -> list[str]:
    """Why a case has to be prepared, in words; empty if it has not."""
    if prepare == Prepare.NEVER:
        return []
    return list(_signs_of_raw_series(case)) or (["The request asked for it."] if prepare == Prepare.ALWAYS else [])


def not_zero_ml(image: Volume) -> float:
    """The volume that is not zero: the brain if the skull was removed, almost the whole image otherwise."""
    return int(np.count_nonzero(image.voxels)) * image.grid.voxel_ml


def _signs_of_raw_series(case: Case) -> Iterator[str]:
    elsewhere = [modality for modality, image in case.images.items() if not case.grid.coincides(image.grid)]
    if elsewhere:
        yield f"Not on the grid of {case.reference}: {', '.join(elsewhere)}."
    with_skull = [modality for modality, image in case.images.items() if not_zero_ml(image) > MAX_BRAIN_ML]
    if with_skull and not case.brain_mask:
        yield f"More than {MAX_BRAIN_ML} ml are not zero, so that the skull was not removed: {', '.join(with_skull)}."
