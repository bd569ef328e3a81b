"""What DICOM objects about a case say, and what they have in common."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.config import RAISE
from pydicom.datadict import dictionary_VR
from pydicom.uid import UID, generate_uid
from pydicom.valuerep import DA, DT, TM, validate_value

from service.dicom.stacks import Stack

NAME = "GlioServe"  # of the manufacturer and of the device
RESEARCH_USE = "Research use only"
SERIES_NUMBER = 9000  # of the first series of objects; scanners number their series from 1
DATES_AND_TIMES = (
    *("ContentDate", "ContentTime", "InstanceCreationDate", "InstanceCreationTime", "SeriesDate", "SeriesTime"),
    *("DateOfSecondaryCapture", "TimeOfSecondaryCapture"),
)
NO_DATE, NO_TIME = "19700101", "000000"

UTF_8, SEXES = "ISO_IR 192", ("M", "F", "O")
PARSERS: Mapping[str, Callable[[str], Any]] = {"DA": DA, "TM": TM}  # they find more errors than the validation

# Attributes of patient and study that every object has, if only empty (type 2); some archives leave them out.
MAY_BE_EMPTY = (
    *("AccessionNumber", "PatientBirthDate", "PatientID", "PatientName", "PatientSex", "ReferringPhysicianName"),
    *("StudyDate", "StudyID", "StudyTime"),
)


@dataclass(frozen=True)
class RegionFinding:
    """A region: its volume and, if it is known, the quality estimate."""

    volume_ml: float
    predicted_dice: float | None = None


@dataclass(frozen=True)
class Findings:
    """The label map of a series and what the report says about it."""

    stack: Stack
    headers: Sequence[Dataset]  # of the files of the stack
    labels: NDArray[np.uint8]  # (X, Y, Z) on the grid of the stack
    label_numbers: Mapping[str, int]  # as in the report
    regions: Mapping[str, RegionFinding]
    review_reasons: Sequence[str]
    weights: str  # which networks

    @cached_property
    def sources(self) -> list[Dataset]:
        """Headers that objects can refer to."""
        return [usable_header(header, self.stack.grid.spacing_mm[2]) for header in self.headers]

    @cached_property
    def _identity(self) -> list[str]:
        """What UIDs depend on; every object needs several, and the label map is large."""
        labels = sha256(self.labels.tobytes()).hexdigest()
        return [self.weights, labels, *(str(header.SOPInstanceUID) for header in self.headers)]

    def uid(self, what: str) -> UID:
        """A UID that depends on the images, the label map and the weights, and on nothing else."""
        return generate_uid(entropy_srcs=[what, *self._identity])

    def make_reproducible(self, made: Dataset) -> None:
        """Replace what is random in an object, and today's date by that of the study.

        The same UIDs must mean the same object.
        """
        date, time = made.StudyDate or NO_DATE, made.StudyTime or NO_TIME
        for keyword in DATES_AND_TIMES:
            if keyword in made:
                setattr(made, keyword, date if "Date" in keyword else time)
        for element in made.iterall():
            if element.keyword == "ContributionDateTime":
                element.value = DT(f"{date}{time}")
            elif element.keyword == "DimensionOrganizationUID":
                element.value = self.uid("dimensions")


def usable_header(header: Dataset, thickness_mm: float) -> Dataset:
    """A header that objects can refer to: what it needs and lacks, or has in an invalid form, is empty or derived."""
    for keyword in MAY_BE_EMPTY:
        setattr(header, keyword, _valid_text(header, keyword))
    header.SpecificCharacterSet = UTF_8
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID"):
        if not header.get(keyword):
            setattr(header, keyword, generate_uid(entropy_srcs=[keyword, str(header.SeriesInstanceUID)]))
    groups = [*header.get("SharedFunctionalGroupsSequence", []), *header.get("PerFrameFunctionalGroupsSequence", [])]
    measures = [item for group in groups for item in group.get("PixelMeasuresSequence", [])]
    for dataset in measures or [header]:
        if not dataset.get("SliceThickness"):
            dataset.SliceThickness = round(thickness_mm, 4)
    return header


def _valid_text(header: Dataset, keyword: str) -> str:
    """An attribute as text; empty if it is missing or invalid."""
    kind, text = dictionary_VR(keyword), str(header.get(keyword) or "")
    try:
        validate_value(kind, text, RAISE)
        PARSERS.get(kind, str)(text)
    except ValueError:
        return ""
    return "" if keyword == "PatientSex" and text not in SEXES else text
