"""Label maps as DICOM segmentations, read back by an independent reader."""

import shutil
import subprocess
from io import BytesIO

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.config import disable_value_validation
from support.dicom_files import PATIENT, SEQUENCES, encode, encode_all, make_enhanced, make_study
from support.dicom_segmentation import read_segments
from test_dicom import ORIENTATIONS, Opened, volume

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


def encode_segmentation(files: dict[str, bytes], labels: np.ndarray) -> bytes:
    body = BytesIO()
    make_segmentation(*read_reference(files), labels, NUMBERS, "default 3 0123456789ab").save_as(body)
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


DIRTY = [
    {"SpecificCharacterSet": ["", "ISO 2022 IR 87"], "PatientName": "Yamada^Tarou=山田^太郎"},
    {"SpecificCharacterSet": "ISO IR 100", "PatientName": "Mueller^Jane"},
    {"PatientBirthDate": "00000000", "PatientSex": "männlich", "StudyDate": "2020.01.02", "StudyTime": "xx"},
    {"PatientID": "9" * 99, "AccessionNumber": "1" * 40, "StudyID": "long " * 9, "StudyTime": "10:11:12"},
    dict.fromkeys(("PatientName", "PatientID", "PatientBirthDate", "FrameOfReferenceUID")),
    {"StudyInstanceUID": None},
]


@pytest.mark.parametrize("attributes", DIRTY, ids=lambda attributes: ", ".join(attributes))
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="needs dciodvfy of dicom3tools")
def test_it_is_valid_even_if_its_images_are_not(attributes, tmp_path):
    files = {}
    with disable_value_validation():
        for name, data in classic("oblique").items():
            dataset = dcmread(BytesIO(data))
            for keyword, value in attributes.items():
                setattr(dataset, keyword, value) if value else delattr(dataset, keyword)
            files[name] = encode(dataset)
    (tmp_path / "segmentation.dcm").write_bytes(encode_segmentation(files, lesion(SHAPE)))
    done = subprocess.run(["dciodvfy", tmp_path / "segmentation.dcm"], capture_output=True, text=True, check=False)
    assert "Error" not in done.stdout + done.stderr
