"""What the preparation of a raw case found out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from service.imaging.case import Case, Modality
from service.imaging.volume import Volume
from service.preparation.raw import not_zero_ml

MIN_BRAIN_OVERLAP = 0.85
BRAIN_ML = (900, 2000)  # the smallest and the largest plausible volume of a brain


@dataclass(frozen=True)
class PreparedSeries:
    """How a series was registered to the reference."""

    motion: NDArray[np.float64]  # (4, 4): points of the series to those of the reference, in RAS+ millimetres
    brain_overlap: float  # Dice of the rough masks of the brain in the moved series and in the reference


@dataclass(frozen=True)
class Preparation:
    """What was done to a raw case; its voxels stay as they are."""

    reasons: Sequence[str]  # why the case was prepared
    reference: Modality
    series: Mapping[Modality, PreparedSeries]  # all others
    brain_mask: Volume  # on the grid of the reference

    def place(self, case: Case) -> Case:
        """The case with the affine of every series moved to its place on the reference, and with the brain mask."""
        images = {
            modality: Volume(image.voxels, self.series[modality].motion @ image.affine)
            if modality in self.series
            else image
            for modality, image in case.images.items()
        }
        return replace(case, images=images, brain_mask=self.brain_mask)

    @property
    def brain_ml(self) -> float:
        """Volume of the brain."""
        return not_zero_ml(self.brain_mask)

    def reasons_for_review(self) -> Iterator[str]:
        """Yield what makes the preparation doubtful, in words."""
        for modality, series in self.series.items():
            if series.brain_overlap < MIN_BRAIN_OVERLAP:
                yield (
                    f"{modality}: its registration is doubtful; its brain and that of {self.reference} overlap with a "
                    f"Dice of {series.brain_overlap:.2f}, less than {MIN_BRAIN_OVERLAP}."
                )
        low, high = BRAIN_ML
        if not low <= self.brain_ml <= high:
            yield f"The mask of the brain is doubtful: {self.brain_ml:.0f} ml, not {low} to {high} ml."
