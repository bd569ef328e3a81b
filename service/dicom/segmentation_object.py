"""A label map as a DICOM segmentation (SEG), one segment for each label."""

from collections.abc import Mapping

import numpy as np
from highdicom import AlgorithmIdentificationSequence, CoordinateSystemNames, PlanePositionSequence
from highdicom.color import CIELabColor
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from service.dicom.findings import NAME, RESEARCH_USE, SERIES_NUMBER, Findings

ALTERED_STRUCTURE = Code("49755003", "SCT", "Morphologically Altered Structure")
# By the names of labels in the report: segment label, type of the segmented property, and colour in RGB.
SEGMENTS: Mapping[str, tuple[str, Code, tuple[int, int, int]]] = {
    "necrotic_core": ("Necrotic and non-enhancing core", Code("C81175", "NCIt", "Non-Enhancing Lesion"), (213, 94, 0)),
    "oedema": ("Oedema", Code("79654002", "SCT", "Edema"), (0, 158, 115)),
    "enhancing_tumour": ("Enhancing tumour", Code("C113842", "NCIt", "Enhancing Lesion"), (240, 228, 66)),
}


def make_segmentation(findings: Findings) -> Segmentation:
    """The segmentation object; the same findings give the same object.

    Segments without a voxel are described and have no frames; if all are without one, every frame is there and empty.
    """
    frames = findings.labels.transpose(2, 1, 0)
    masks = np.stack([frames == findings.label_numbers[name] for name in SEGMENTS], axis=-1)
    algorithm = AlgorithmIdentificationSequence(NAME, codes.DCM.ArtificialIntelligence, findings.weights)
    segmentation = Segmentation(
        source_images=findings.sources,
        pixel_array=masks.astype(np.uint8),
        plane_positions=[
            PlanePositionSequence(CoordinateSystemNames.PATIENT, frame.position.tolist())
            for frame in findings.stack.frames
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
                tracking_uid=findings.uid(name),
                tracking_id=name,
                display_color=CIELabColor.from_rgb(*colour),
            )
            for number, (name, (label, kind, colour)) in enumerate(SEGMENTS.items(), start=1)
        ],
        series_instance_uid=findings.uid("segmentation series"),
        series_number=SERIES_NUMBER,
        sop_instance_uid=findings.uid("segmentation"),
        instance_number=1,
        manufacturer=NAME,
        manufacturer_model_name=NAME,
        software_versions=findings.weights,
        device_serial_number=NAME,
        content_description=f"Brain tumour. {RESEARCH_USE}",
        content_label="BRAIN_TUMOUR",
        series_description=f"{NAME}: brain tumour. {RESEARCH_USE}",
    )
    segmentation.ContentCreatorName = ""  # required, and may be empty
    findings.make_reproducible(segmentation)
    return segmentation
