"""Check that the volumes of a case show the modalities that their names say."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from service.imaging.case import Modality

CERTAIN_MARGIN = 1.0  # in log-probability; 263 of 264 swaps exceed it, and no correct names (docs/results.md)
T1, T1GD = (list(Modality).index(modality) for modality in (Modality.T1, Modality.T1GD))


@dataclass(frozen=True)
class Contradiction:
    """The images contradict their names."""

    text: str
    is_certain: bool


def find_contradiction(
    log_probability: NDArray[np.float64], missing: Collection[Modality] = ()
) -> Contradiction | None:
    """What is wrong with the names, given the log-probability (4, 4) that each volume shows each modality.

    Names are swapped if giving the names to the volumes in another order is more probable. T1 in place of T1Gd, another
    frequent mistake, changes no order: there T1 is more probable than T1Gd for the volume called T1Gd. With missing
    modalities nothing is certain, because their names may belong to one of the volumes.
    """
    names = list(Modality)
    volumes = np.array([index for index, name in enumerate(names) if name not in missing])
    present = log_probability[volumes]  # (N, 4)
    rows, best = linear_sum_assignment(present, maximize=True)
    margin = float(present[rows, best].sum() - present[rows, volumes].sum())
    if margin > 0:
        found = ", ".join(
            f"{names[volume]} looks like {names[seen]}"
            for volume, seen in zip(volumes, best, strict=True)
            if volume != seen
        )
        is_certain = margin > CERTAIN_MARGIN and not missing
        return Contradiction(f"The images seem to have wrong names: {found}.", is_certain)
    if T1GD in volumes and log_probability[T1GD, T1] > log_probability[T1GD, T1GD]:
        return Contradiction("The image named T1Gd looks like a T1 without contrast agent.", is_certain=False)
    return None
