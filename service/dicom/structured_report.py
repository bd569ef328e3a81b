"""Volumes and the quality estimate as a DICOM structured report (TID 1500, Measurement Report)."""

from collections.abc import Iterator, Mapping

import numpy as np
from highdicom.seg import Segmentation
from highdicom.sr import (
    AlgorithmIdentification,
    Comprehensive3DSR,
    DeviceObserverIdentifyingAttributes,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    ReferencedSegment,
    TrackingIdentifier,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from service.dicom.findings import NAME, RESEARCH_USE, SERIES_NUMBER, Findings
from service.dicom.segmentation_object import ALTERED_STRUCTURE, SEGMENTS

SCHEME = "99GLIOSERVE"  # for what no standard has a code
PREDICTED_DICE = Code("predicted-dice", SCHEME, "Predicted Dice coefficient")
REVIEW, RECOMMENDED = Code("review", SCHEME, "Review by a person"), Code("recommended", SCHEME, "Recommended")
REGIONS: Mapping[str, Code] = {
    "WT": Code("whole-tumour", SCHEME, "Whole tumour"),
    "TC": Code("tumour-core", SCHEME, "Tumour core"),
    "ET": Code("enhancing-tumour", SCHEME, "Enhancing tumour"),
}
MRI_OF_BRAIN = Code("816077007", "SCT", "Magnetic resonance imaging of brain")
MILLILITRE = Code("ml", "UCUM", "milliliter")


def make_report(findings: Findings, segmentation: Segmentation) -> Comprehensive3DSR:
    """The structured report: every segment with its volume, every region with its volume and predicted Dice."""
    device = DeviceObserverIdentifyingAttributes(findings.uid("device"), NAME, NAME, NAME)
    content = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=ObserverContext(codes.DCM.Device, device)),
        procedure_reported=MRI_OF_BRAIN,
        imaging_measurements=[*_segments(findings, segmentation), *_regions(findings)],
        title=codes.DCM.ImagingMeasurementReport,
    )
    report = Comprehensive3DSR(
        evidence=[*findings.sources, segmentation],
        content=content,
        series_instance_uid=findings.uid("report series"),
        series_number=SERIES_NUMBER + 1,
        sop_instance_uid=findings.uid("report"),
        instance_number=1,
        manufacturer=NAME,
        is_complete=True,
        series_description=f"{NAME}: volumes. {RESEARCH_USE}",
    )
    findings.make_reproducible(report)
    return report


def _segments(
    findings: Findings, segmentation: Segmentation
) -> Iterator[VolumetricROIMeasurementsAndQualitativeEvaluations]:
    for number, (name, (_, kind, _)) in enumerate(SEGMENTS.items(), start=1):
        voxels = int(np.count_nonzero(findings.labels == findings.label_numbers[name]))
        if voxels:
            volume_ml = round(voxels * findings.stack.grid.voxel_ml, 3)
            yield VolumetricROIMeasurementsAndQualitativeEvaluations(
                tracking_identifier=TrackingIdentifier(findings.uid(name), name),
                referenced_segment=ReferencedSegment.from_segmentation(segmentation, number),
                finding_type=kind,
                finding_category=ALTERED_STRUCTURE,
                algorithm_id=_algorithm(findings),
                measurements=[Measurement(codes.SCT.Volume, volume_ml, MILLILITRE)],
            )


def _regions(findings: Findings) -> Iterator[MeasurementsAndQualitativeEvaluations]:
    evaluations = [QualitativeEvaluation(REVIEW, RECOMMENDED)] if findings.review_reasons else []
    for region, found in findings.regions.items():
        measurements = [Measurement(codes.SCT.Volume, found.volume_ml, MILLILITRE)]
        if found.predicted_dice is not None:
            measurements.append(Measurement(PREDICTED_DICE, found.predicted_dice, codes.UCUM.NoUnits))
        yield MeasurementsAndQualitativeEvaluations(
            tracking_identifier=TrackingIdentifier(findings.uid(region), region),
            finding_type=REGIONS[region],
            algorithm_id=_algorithm(findings),
            measurements=measurements,
            qualitative_evaluations=evaluations,
        )


def _algorithm(findings: Findings) -> AlgorithmIdentification:
    return AlgorithmIdentification(NAME, findings.weights, parameters=[RESEARCH_USE])
