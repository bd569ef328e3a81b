"""A case: its modalities and, optionally, the ground truth and a brain mask."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import combinations

import numpy as np

from service.imaging.errors import GeometryError, ModalityError
from service.imaging.volume import Grid, Volume


class Modality(StrEnum):
    """The four MRI modalities, in the order of the networks' input channels."""

    T1 = "T1"
    T1GD = "T1Gd"
    T2 = "T2"
    FLAIR = "FLAIR"


GROUND_TRUTH, BRAIN_MASK = "ground truth", "brain mask"


@dataclass(frozen=True)
class Series:
    """The DICOM series that an image was read from, and why it was chosen."""

    number: int
    reason: str


@dataclass(frozen=True)
class Case:
    """Volumes (X, Y, Z) of the modalities; label map and brain mask are on the grid of the reference."""

    images: Mapping[Modality, Volume]  # at least one, in the order of Modality
    ground_truth: Volume | None = None
    brain_mask: Volume | None = None  # not zero in the brain; None: the images are zero outside the brain
    series: Mapping[Modality, Series] = field(default_factory=dict)  # empty if the images were files

    @property
    def missing(self) -> tuple[Modality, ...]:
        """The modalities that the case lacks."""
        return tuple(modality for modality in Modality if modality not in self.images)

    @property
    def reference(self) -> Modality:
        """The modality on whose grid the label map is returned, and to which the others are registered."""
        return Modality.T1GD if Modality.T1GD in self.images else next(iter(self.images))

    @property
    def grid(self) -> Grid:
        """The grid of the reference."""
        return self.images[self.reference].grid

    @property
    def volumes(self) -> dict[str, Volume]:
        """All volumes by role: the modalities and, if present, GROUND_TRUTH and BRAIN_MASK."""
        others = {GROUND_TRUTH: self.ground_truth, BRAIN_MASK: self.brain_mask}
        return {str(modality): volume for modality, volume in self.images.items()} | {
            role: volume for role, volume in others.items() if volume is not None
        }


def case_of(volumes: Mapping[str, Volume]) -> Case:
    """Make a case from a mapping of roles to volumes; the inverse of `Case.volumes`."""
    images = {modality: volumes[modality] for modality in Modality if modality in volumes}
    return Case(images, volumes.get(GROUND_TRUTH), volumes.get(BRAIN_MASK))


def check_one_grid(case: Case) -> None:
    """Raise GeometryError if a modality is not on the grid of the reference."""
    for modality, image in case.images.items():
        check_grid(modality, image, case.reference, case.grid)


def check_grid(role: str, volume: Volume, expected_role: str, expected: Grid) -> None:
    """Raise GeometryError if a volume is not on the grid of another one."""
    if volume.grid.shape != expected.shape:
        raise GeometryError(
            f"{role}: expected the shape of {expected_role}, {expected.shape}, found {volume.grid.shape}."
        )
    if not expected.coincides(volume.grid):
        raise GeometryError(
            f"{role}: expected the affine of {expected_role}, {expected.affine.round(4).tolist()}, "
            f"found {volume.affine.round(4).tolist()}, whose corners are up to {expected.distance_mm(volume.grid):.1f} "
            "mm away."
        )


def check_distinct(images: Mapping[Modality, Volume]) -> None:
    """Raise ModalityError if two modalities have the same voxels: one file was sent twice."""
    for one, other in combinations(images, 2):
        if np.array_equal(images[one].voxels, images[other].voxels):
            raise ModalityError(f"{one} and {other}: expected two different images, found the same one twice.")
