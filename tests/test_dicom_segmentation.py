"""Label maps as DICOM segmentations, read back by an independent reader."""

from io import BytesIO

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from support.dicom_files import PATIENT, SEQUENCES, encode_all, make_enhanced, make_study
from support.dicom_segmentation import read_segments
from test_dicom import ORIENTATIONS, Opened, volume

from service.dicom.findings import Findings, RegionFinding
from service.dicom.segmentation_object import SEGMENTS, make_segmentation
from service.dicom.stacks import Stack
from service.dicom.study import choose_stacks, read_headers
from service.imaging.case import Modality

NUMBERS = {"necrotic_core": 1, "oedema": 2, "enhancing_tumour": 4}
SHAPE = (20, 24, 6)


def read_reference(files: dict[str, bytes]) -> tuple[Stack, list[Dataset]]:
    """The stack of T1Gd and its headers."""
    opened = Opened(files)
    stack = choose_stacks(opened, {}, allow_missing=False)[Modality.T1GD].stack
    return stack, read_headers(opened, stack)


def classic(orientation: str) -> dict[str, bytes]:
    return make_study({modality: volume(ORIENTATIONS[orientation], SHAPE) for modality in Modality})


def enhanced(orientation: str) -> dict[str, bytes]:
    images = [volume(ORIENTATIONS[orientation], SHAPE) for _ in Modality]
    return encode_all([make_enhanced(images[n], n, **SEQUENCES[role]) for n, role in enumerate(Modality)])


def lesion(shape: tuple[int, int, int]) -> np.ndarray:
    """A label map without any symmetry."""
    labels = np.zeros(shape, np.uint8)
    labels[3:12, 5:19, 1:5] = NUMBERS["oedema"]
    labels[4:9, 6:10, 2:4] = NUMBERS["enhancing_tumour"]
    labels[5:7, 7:9, 3] = NUMBERS["necrotic_core"]
    return labels


def make_findings(files: dict[str, bytes], labels: np.ndarray) -> Findings:
    regions = {"WT": RegionFinding(12.5, 0.9), "TC": RegionFinding(1.25, 0.8), "ET": RegionFinding(0.0)}
    return Findings(*read_reference(files), labels, NUMBERS, regions, ["a reason"], "default 3 0123456789ab")


def encode_segmentation(files: dict[str, bytes], labels: np.ndarray) -> bytes:
    body = BytesIO()
    make_segmentation(make_findings(files, labels)).save_as(body)
    return body.getvalue()


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("make", [classic, enhanced])
def test_every_segment_lies_on_its_lesion(make, orientation):
    files = make(orientation)
    stack, _ = read_reference(files)
    labels = lesion(stack.grid.shape)
    masks = read_segments(encode_segmentation(files, labels), stack.grid)
    for name in SEGMENTS:
        assert (masks[name] == (labels == NUMBERS[name])).all(), name


@pytest.mark.parametrize("make", [classic, enhanced])
def test_frames_refer_to_the_images_that_they_lie_on(make):
    files = make("oblique")
    stack, headers = read_reference(files)
    dataset = dcmread(BytesIO(encode_segmentation(files, lesion(stack.grid.shape))))
    referenced = {
        item.ReferencedSOPInstanceUID for item in dataset.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    }
    assert referenced <= {header.SOPInstanceUID for header in headers}
    positions = {tuple(frame.position.round(3)): frame for frame in stack.frames}
    for groups in dataset.PerFrameFunctionalGroupsSequence:
        position = tuple(np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float).round(3))
        [source] = groups.DerivationImageSequence[0].SourceImageSequence
        assert source.ReferencedSOPInstanceUID == positions[position].text("SOPInstanceUID")
        if make == enhanced:
            assert source.ReferencedFrameNumber == positions[position].index + 1


def test_it_belongs_to_the_patient_and_the_study():
    dataset = dcmread(BytesIO(encode_segmentation(classic("axial"), lesion(SHAPE))))
    assert (dataset.PatientName, dataset.StudyInstanceUID, dataset.FrameOfReferenceUID) == (
        PATIENT,
        "1.2.3.4",
        "1.2.3.5",
    )
    assert "Research use only" in dataset.SeriesDescription


def test_the_same_case_gives_the_same_object():
    files = classic("axial")
    assert encode_segmentation(files, lesion(SHAPE)) == encode_segmentation(files, lesion(SHAPE))
    first, other = (dcmread(BytesIO(encode_segmentation(files, lesion(SHAPE) * n))) for n in (1, 0))
    assert first.SOPInstanceUID != other.SOPInstanceUID


def test_an_empty_label_map_is_an_object_without_lesion():
    files = classic("axial")
    stack, _ = read_reference(files)
    masks = read_segments(encode_segmentation(files, np.zeros(SHAPE, np.uint8)), stack.grid)
    assert list(masks) == list(SEGMENTS)
    assert not any(mask.any() for mask in masks.values())
