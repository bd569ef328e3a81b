"""A label map as a DICOM segmentation (SEG), one segment for each label."""

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any

import numpy as np
from highdicom import AlgorithmIdentificationSequence, CoordinateSystemNames, PlanePositionSequence
from highdicom.color import CIELabColor
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.config import RAISE
from pydicom.datadict import dictionary_VR
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid
from pydicom.valuerep import DA, DT, TM, validate_value

from service.dicom.stacks import Stack

NAME = "GlioServe"  # of the manufacturer and of the device
RESEARCH_USE = "Research use only"
SERIES_NUMBER = 9000  # scanners number their series from 1
NO_DATE, NO_TIME = "19700101", "000000"

ALTERED_STRUCTURE = Code("49755003", "SCT", "Morphologically Altered Structure")
# By the names of labels in the report: segment label, type of the segmented property, and colour in RGB.
SEGMENTS: Mapping[str, tuple[str, Code, tuple[int, int, int]]] = {
    "necrotic_core": ("Necrotic and non-enhancing core", Code("C81175", "NCIt", "Non-Enhancing Lesion"), (213, 94, 0)),
    "oedema": ("Oedema", Code("79654002", "SCT", "Edema"), (0, 158, 115)),
    "enhancing_tumour": ("Enhancing tumour", Code("C113842", "NCIt", "Enhancing Lesion"), (240, 228, 66)),
}

UTF_8, SEXES = "ISO_IR 192", ("M", "F", "O")
PARSERS: Mapping[str, Callable[[str], Any]] = {"DA": DA, "TM": TM}  # they find more errors than the validation

# Attributes of patient and study that every object has, if only empty (type 2); some archives leave them out.
MAY_BE_EMPTY = (
    *("AccessionNumber", "PatientBirthDate", "PatientID", "PatientName", "PatientSex", "ReferringPhysicianName"),
    *("StudyDate", "StudyID", "StudyTime"),
)


def make_segmentation(
    stack: Stack,
    headers: Sequence[Dataset],
    labels: NDArray[np.uint8],
    label_numbers: Mapping[str, int],
    weights: str,
) -> Segmentation:
    """The segmentation object of a label map (X, Y, Z) on the grid of a stack, whose files have these headers.

    `label_numbers` are those of the report, and `weights` names the networks. The same arguments give the same object.
    Segments without a voxel are described and have no frames.
    """
    frames = labels.transpose(2, 1, 0)
    masks = np.stack([frames == label_numbers[name] for name in SEGMENTS], axis=-1)
    sources = [_usable(header, stack.grid.spacing_mm[2]) for header in headers]
    identity = [weights, sha256(labels.tobytes()).hexdigest(), *(str(source.SOPInstanceUID) for source in sources)]
    algorithm = AlgorithmIdentificationSequence(NAME, codes.DCM.ArtificialIntelligence, weights)
    segmentation = Segmentation(
        source_images=sources,
        pixel_array=masks.astype(np.uint8),
        plane_positions=[
            PlanePositionSequence(CoordinateSystemNames.PATIENT, f.position.tolist()) for f in stack.frames
        ],
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[
            SegmentDescription(
                number,
                label,
                ALTERED_STRUCTURE,
                kind,
                SegmentAlgorithmTypeValues.AUTOMATIC,
                algorithm,
                tracking_uid=generate_uid(entropy_srcs=[name, *identity]),
                tracking_id=name,
                display_color=CIELabColor.from_rgb(*colour),
            )
            for number, (name, (label, kind, colour)) in enumerate(SEGMENTS.items(), start=1)
        ],
        series_instance_uid=generate_uid(entropy_srcs=["series", *identity]),
        series_number=SERIES_NUMBER,
        sop_instance_uid=generate_uid(entropy_srcs=["object", *identity]),
        instance_number=1,
        manufacturer=NAME,
        manufacturer_model_name=NAME,
        software_versions=weights,
        device_serial_number=NAME,
        content_description=f"Brain tumour. {RESEARCH_USE}",
        content_label="BRAIN_TUMOUR",
        series_description=f"{NAME}: brain tumour. {RESEARCH_USE}",
    )
    _make_reproducible(segmentation, generate_uid(entropy_srcs=["dimensions", *identity]))
    return segmentation


def _usable(header: Dataset, thickness_mm: float) -> Dataset:
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


def _make_reproducible(segmentation: Segmentation, dimensions_uid: str) -> None:
    """Replace what is random, and today's date by that of the study: the same UIDs must mean the same object."""
    date, time = segmentation.StudyDate or NO_DATE, segmentation.StudyTime or NO_TIME
    for kind in ("Content", "InstanceCreation", "Series"):
        for part, value in (("Date", date), ("Time", time)):
            if f"{kind}{part}" in segmentation:
                setattr(segmentation, f"{kind}{part}", value)
    for equipment in segmentation.ContributingEquipmentSequence:
        equipment.ContributionDateTime = DT(f"{date}{time}")
    for element in segmentation.iterall():
        if element.keyword == "DimensionOrganizationUID":
            element.value = dimensions_uid
