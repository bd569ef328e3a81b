"""The frames of DICOM files: what their headers say about each image, without its pixels.

A classic file (MR Image Storage) holds one frame. An enhanced one holds many, and says in functional groups what a
classic file says at its top level (DICOM PS3.3, sections C.7.6.16 and C.8.13); here both look the same.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, config, dcmread
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import (
    EnhancedMRImageStorage,
    ImplicitVRLittleEndian,
    LegacyConvertedEnhancedMRImageStorage,
    MRImageStorage,
)

PREAMBLE_BYTES, MAGIC = 128, b"DICM"
HEAD_BYTES = PREAMBLE_BYTES + len(MAGIC)
GROUPS_WITHOUT_PREAMBLE = (b"\x02\x00", b"\x08\x00")  # some archives export files that start with the first element
CLASSIC = MRImageStorage
ENHANCED = (EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage)
IMAGE_CLASSES = (CLASSIC, *ENHANCED)
MAX_FRAMES = 10_000  # in a file

SYNTAX = "TransferSyntaxUID"  # in the part of a file before the data set
FUNCTIONAL_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
# Enhanced attributes by the classic ones that have the same meaning.
ENHANCED_NAMES: Mapping[str, str] = {
    "AcquisitionNumber": "FrameAcquisitionNumber",
    "ContrastBolusAgent": "ContrastBolusAgentNumber",  # which agent was used in a frame
    "EchoTime": "EffectiveEchoTime",
    "ImageType": "FrameType",
    "InversionTime": "InversionTimes",
    "SequenceName": "PulseSequenceName",
    "TemporalPositionIdentifier": "TemporalPositionIndex",
}
KEYWORDS = (
    *ENHANCED_NAMES,
    *ENHANCED_NAMES.values(),
    *("BitsAllocated", "Columns", "DiffusionBValue", "EchoPulseSequence"),
    *("ImageOrientationPatient", "ImagePositionPatient", "NumberOfFrames"),
    *("PhotometricInterpretation", "PixelRepresentation", "PixelSpacing", "RepetitionTime", "RescaleIntercept"),
    *("RescaleSlope", "Rows", "SamplesPerPixel", "ScanningSequence", "SeriesDescription", "SeriesInstanceUID"),
    *("SeriesNumber", "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "PatientID", "TriggerTime"),
)
READ_ERRORS = (
    *(AttributeError, EOFError, IndexError, KeyError, NotImplementedError, OSError, OverflowError, RecursionError),
    *(TypeError, ValueError, BytesLengthException, InvalidDicomError, struct.error),
)

config.settings.reading_validation_mode = config.IGNORE  # values are checked where they are used


@dataclass(frozen=True)
class Frame:
    """One image of a series, and its attributes by DICOM keyword."""

    file: str
    index: int  # in the file, from 0
    attributes: Mapping[str, Any]

    def text(self, keyword: str) -> str:
        """An attribute as text, several values separated by a backslash; empty if it is missing."""
        value = self.attributes.get(keyword)
        if value is None:
            return ""
        return str(value) if isinstance(value, str) or not np.iterable(value) else "\\".join(map(str, value))

    def number(self, keyword: str) -> float | None:
        """An attribute as a number, the first of several values; None if it is missing or no number."""
        values = self.numbers(keyword)
        return float(values[0]) if values.size and np.isfinite(values[0]) else None

    def numbers(self, keyword: str) -> NDArray[np.float64]:
        """An attribute as an array of numbers, empty if it is missing or not numeric."""
        try:
            return np.atleast_1d(np.array(self.attributes.get(keyword, []), np.float64))
        except (TypeError, ValueError):
            return np.array([])

    @cached_property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return int(self.number("Rows") or 0), int(self.number("Columns") or 0)

    @cached_property
    def position(self) -> NDArray[np.float64]:
        """Centre of the first pixel (3,), in LPS+ millimetres."""
        return self.numbers("ImagePositionPatient")

    @cached_property
    def directions(self) -> NDArray[np.float64]:
        """Unit vectors (6,) along a row and along a column, in LPS+."""
        return self.numbers("ImageOrientationPatient")

    @cached_property
    def spacing_mm(self) -> NDArray[np.float64]:
        """Distance (2,) between rows and between columns."""
        return self.numbers("PixelSpacing")

    @property
    def stored_type(self) -> np.dtype[Any]:
        """Type of the stored values."""
        signed, bits = self.number("PixelRepresentation"), self.number("BitsAllocated")
        return np.dtype(f"{'int' if signed else 'uint'}{bits or 0:.0f}")

    @property
    def scaling(self) -> tuple[float, float]:
        """Slope and intercept of the stored values."""
        slope, intercept = self.number("RescaleSlope"), self.number("RescaleIntercept")
        return 1.0 if slope is None else slope, intercept or 0.0

    @property
    def is_complete(self) -> bool:
        """Whether the frame has pixels in one channel, and a place in the patient."""
        placed = (self.position.shape, self.directions.shape, self.spacing_mm.shape) == ((3,), (6,), (2,))
        return (
            placed
            and min(self.shape) > 0
            and bool(np.isfinite(np.concatenate([self.position, self.directions, self.spacing_mm])).all())
            and self.number("SamplesPerPixel") == 1
            and self.text("PhotometricInterpretation") == "MONOCHROME2"
            and self.number("BitsAllocated") in (8, 16)
        )


def is_dicom(head: bytes) -> bool:
    """Whether a file that starts with these HEAD_BYTES is DICOM."""
    return head[PREAMBLE_BYTES:] == MAGIC or head.startswith(GROUPS_WITHOUT_PREAMBLE)


def read_frames(file: BinaryIO, name: str) -> list[Frame]:
    """The frames of a DICOM file; none if it is damaged or is not an MR image, as localisers' reports are.

    The file name is used to find the frames again.
    """
    try:
        dataset = dcmread(file, stop_before_pixels=True, force=True, specific_tags=[*KEYWORDS, *FUNCTIONAL_GROUPS])
        kind = dataset.get("SOPClassUID")
        if kind == CLASSIC and int(dataset.get("NumberOfFrames") or 1) == 1:
            return [Frame(name, 0, _top_level(dataset))]
        if kind in ENHANCED:
            return list(_enhanced_frames(dataset, name))
    except READ_ERRORS:
        pass
    return []


def _enhanced_frames(dataset: Dataset, name: str) -> Iterator[Frame]:
    [shared] = dataset.SharedFunctionalGroupsSequence
    common = _top_level(dataset) | _group_attributes(shared)
    if len(dataset.PerFrameFunctionalGroupsSequence) > MAX_FRAMES:
        return
    for index, groups in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        attributes = common | _group_attributes(groups)
        renamed = {classic: attributes[name] for classic, name in ENHANCED_NAMES.items() if name in attributes}
        yield Frame(name, index, attributes | renamed)


def _top_level(dataset: Dataset) -> dict[str, Any]:
    """The attributes of a whole file."""
    return dict(_attributes(dataset)) | {SYNTAX: dataset.file_meta.get(SYNTAX, ImplicitVRLittleEndian)}


def _group_attributes(groups: Dataset) -> dict[str, Any]:
    """The attributes of the first item of each functional group."""
    return {
        keyword: value
        for sequence in groups
        if sequence.VR == "SQ" and sequence.value
        for keyword, value in _attributes(sequence.value[0])
    }


def _attributes(dataset: Dataset) -> Iterator[tuple[str, Any]]:
    for element in dataset:
        if element.keyword in KEYWORDS and element.value is not None:
            yield element.keyword, element.value
