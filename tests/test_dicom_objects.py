"""The DICOM objects about a case: valid, reproducible, and with what was found."""

import shutil
import subprocess
from io import BytesIO

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.config import disable_value_validation
from support.dicom_files import encode
from test_dicom import volume
from test_dicom_segmentation import NUMBERS, SHAPE, classic, enhanced, lesion, make_findings, read_reference

from service.dicom.overlay import MAX_IMAGES, make_overlays
from service.dicom.segmentation_object import SEGMENTS
from service.imaging.volume import Volume
from service.intake.dicom_writer_process import make_objects

DIRTY = [
    {"SpecificCharacterSet": ["", "ISO 2022 IR 87"], "PatientName": "Yamada^Tarou=山田^太郎"},
    {"SpecificCharacterSet": "ISO IR 100", "PatientName": "Mueller^Jane"},
    {"PatientBirthDate": "00000000", "PatientSex": "männlich", "StudyDate": "2020.01.02", "StudyTime": "xx"},
    {"PatientID": "9" * 99, "AccessionNumber": "1" * 40, "StudyID": "long " * 9, "StudyTime": "10:11:12"},
    dict.fromkeys(("PatientName", "PatientID", "PatientBirthDate", "FrameOfReferenceUID")),
    {"StudyInstanceUID": None},
]


def encode_objects(files: dict[str, bytes], labels: np.ndarray, image: Volume | None = None) -> dict[str, bytes]:
    image = image or volume(read_reference(files)[0].grid.affine, labels.shape)
    encoded = {}
    for name, dataset in make_objects(make_findings(files, labels), image):
        body = BytesIO()
        dataset.save_as(body)
        encoded[name] = body.getvalue()
    return encoded


def read_objects(files: dict[str, bytes], labels: np.ndarray) -> dict[str, Dataset]:
    return {name: dcmread(BytesIO(data)) for name, data in encode_objects(files, labels).items()}


def measurements_of(report: Dataset) -> dict[str, dict[str, float]]:
    """The numbers of each measurement group by name, by the tracking identifier of the group."""
    [groups] = [item for item in report.ContentSequence if _name(item) == "Imaging Measurements"]
    return {
        next(item.TextValue for item in group.ContentSequence if _name(item) == "Tracking Identifier"): {
            _name(item): float(item.MeasuredValueSequence[0].NumericValue)
            for item in group.ContentSequence
            if item.ValueType == "NUM"
        }
        for group in groups.ContentSequence
    }


def _name(item: Dataset) -> str:
    return item.ConceptNameCodeSequence[0].CodeMeaning


def test_the_report_has_the_volumes_and_the_quality_estimate():
    labels = lesion(SHAPE)
    objects = read_objects(classic("oblique"), labels)
    found = measurements_of(objects["report.dcm"])
    voxel_ml = 0.9 * 0.8 * 5 / 1000
    for name in SEGMENTS:
        assert found[name] == {"Volume": pytest.approx((labels == NUMBERS[name]).sum() * voxel_ml, abs=1e-3)}
    assert found["WT"] == {"Volume": 12.5, "Predicted Dice coefficient": 0.9}
    assert found["ET"] == {"Volume": 0}
    referenced = objects["report.dcm"].CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    segmentation = objects["segmentation.dcm"]
    assert segmentation.SOPInstanceUID in {
        series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for series in referenced
    }


def test_the_overlays_show_every_slice_with_tumour():
    objects = read_objects(classic("axial"), lesion(SHAPE))
    overlays = [dataset for name, dataset in objects.items() if name.startswith("overlay")]
    assert len(overlays) == np.count_nonzero(lesion(SHAPE).any(axis=(0, 1)))
    for overlay in overlays:
        red, green, blue = np.moveaxis(overlay.pixel_array.astype(int), -1, 0)
        assert (np.abs(red - green) + np.abs(green - blue)).any()
    assert len({overlay.SeriesInstanceUID for overlay in overlays}) == 1


def test_every_overlay_says_that_it_is_for_research_only():
    dark = volume(shape=SHAPE)
    dark.voxels[:] = 0
    objects = make_objects(make_findings(classic("axial"), np.zeros(SHAPE, np.uint8)), dark)
    [overlay] = [dataset for name, dataset in objects if name.startswith("overlay")]
    lower_left = overlay.pixel_array[-20:, :200]
    assert (lower_left > 128).all(axis=-1).sum() > 100
    assert not overlay.pixel_array[:-100].any()


def test_there_is_one_overlay_without_tumour_and_a_limited_number_of_thin_slices():
    files = classic("axial")
    assert len(encode_objects(files, np.zeros(SHAPE, np.uint8))) == 3
    thin = (8, 9, 3 * MAX_IMAGES - 1)
    labels = np.ones(thin, np.uint8)
    findings = make_findings(files, labels)
    overlays = list(make_overlays(findings, volume(shape=thin).voxels))
    assert len(overlays) == MAX_IMAGES


@pytest.mark.parametrize("make", [classic, enhanced])
def test_the_same_case_gives_the_same_objects(make):
    files = make("sagittal")
    shape = read_reference(files)[0].grid.shape
    image = volume(shape=shape)
    assert encode_objects(files, lesion(shape), image) == encode_objects(files, lesion(shape), image)


def check_valid(objects: dict[str, bytes], folder) -> None:
    for name, data in objects.items():
        (folder / name).write_bytes(data)
        done = subprocess.run(["dciodvfy", folder / name], capture_output=True, text=True, check=False)
        assert "Error" not in done.stdout + done.stderr, name


@pytest.mark.parametrize("orientation", ["axial", "oblique", "sagittal"])
@pytest.mark.parametrize("make", [classic, enhanced])
@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="needs dciodvfy of dicom3tools")
def test_objects_are_valid(make, orientation, tmp_path):
    files = make(orientation)
    shape = read_reference(files)[0].grid.shape
    check_valid(encode_objects(files, lesion(shape)), tmp_path)
    check_valid(encode_objects(files, np.zeros(shape, np.uint8)), tmp_path)


@pytest.mark.parametrize("attributes", DIRTY, ids=lambda attributes: ", ".join(attributes))
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="needs dciodvfy of dicom3tools")
def test_objects_are_valid_even_if_the_images_are_not(attributes, tmp_path):
    files = {}
    with disable_value_validation():
        for name, data in classic("oblique").items():
            dataset = dcmread(BytesIO(data))
            for keyword, value in attributes.items():
                setattr(dataset, keyword, value) if value else delattr(dataset, keyword)
            files[name] = encode(dataset)
    check_valid(encode_objects(files, lesion(SHAPE)), tmp_path)
