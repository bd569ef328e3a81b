"""The segmentation and the report of a case as an independent program in C++ reads them: dcmqi, on DCMTK and ITK."""

import json
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import nibabel
import numpy as np
import pytest
from pydicom import dcmread
from test_dicom import ORIENTATIONS
from test_dicom_objects import encode_objects
from test_dicom_segmentation import (
    NUMBERS,
    SHAPE,
    classic,
    encode_segmentation,
    enhanced,
    lesion,
    make_findings,
    read_reference,
)

from service.dicom.segmentation_object import SEGMENTS
from service.imaging.volume import Grid

SEGMENTATION_READER, REPORT_READER = (
    Path(sys.executable).with_name(name) for name in ("segimage2itkimage", "tid1500reader")
)
pytestmark = pytest.mark.skipif(
    not (SEGMENTATION_READER.exists() and REPORT_READER.exists()), reason="needs the programs of dcmqi"
)
OEDEMA, ENHANCING = NUMBERS["oedema"], NUMBERS["enhancing_tumour"]
# There are no frames of slices without tumour: the distance between frames is not always that between slices.
SLICES = {
    "in one slice": {2: OEDEMA},
    "in the first slice": {0: OEDEMA},
    "in the last slice": {5: OEDEMA},
    "in distant slices": {1: OEDEMA, 4: OEDEMA},
    "in different slices": {0: OEDEMA, 3: ENHANCING},
    "at irregular distances": {0: OEDEMA, 2: OEDEMA, 5: ENHANCING},
}


def run(program: Path, data: bytes, folder: Path, *arguments: str | Path) -> None:
    (folder / "input.dcm").write_bytes(data)
    done = subprocess.run(
        [program, "--inputDICOM", folder / "input.dcm", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def read_segments(data: bytes, folder: Path) -> dict[str, nibabel.Nifti1Image]:
    """The image that dcmqi writes of each segment, by the tracking id of the segment."""
    run(SEGMENTATION_READER, data, folder, "--outputDirectory", folder, "--outputType", "nifti")
    groups = json.loads((folder / "meta.json").read_text())["segmentAttributes"]
    names = {number: group[0]["TrackingIdentifier"] for number, group in enumerate(groups, start=1)}
    assert {path.name for path in folder.glob("*.nii.gz")} == {f"{number}.nii.gz" for number in names}
    return {name: nibabel.load(folder / f"{number}.nii.gz") for number, name in names.items()}


def read_report(data: bytes, folder: Path) -> dict[str, dict]:
    """The measurement groups that dcmqi finds, by their tracking id."""
    run(REPORT_READER, data, folder, "--outputMetadata", folder / "report.json")
    groups = json.loads((folder / "report.json").read_text())["Measurements"]
    by_name = {group["TrackingIdentifier"]: group for group in groups}
    assert len(by_name) == len(groups)
    return by_name


def positions(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """The centres (N, 3) of the voxels of a mask, in RAS+ millimetres."""
    return nibabel.affines.apply_affine(affine, np.argwhere(mask))


def check_same_place(image: nibabel.Nifti1Image, mask: np.ndarray, grid: Grid) -> None:
    """Whether an image covers the voxels of a mask on the grid, at the same places in the patient."""
    found = positions(np.asarray(image.dataobj) != 0, image.affine)
    indices = nibabel.affines.apply_affine(np.linalg.inv(grid.affine), found)
    assert np.abs(indices - indices.round()).max() < 0.001, "a voxel is not at the centre of a voxel of the grid"
    covered, expected = ({tuple(index) for index in rows.round().astype(int)} for rows in (indices, np.argwhere(mask)))
    assert 2 * len(covered & expected) / (len(found) + len(expected)) == 1, "Dice"
    assert np.abs(found.mean(axis=0) - positions(mask, grid.affine).mean(axis=0)).max() < 0.001, "centroid in mm"


def check_segments(files: dict[str, bytes], labels: np.ndarray, folder: Path) -> None:
    grid = read_reference(files)[0].grid
    images = read_segments(encode_segmentation(files, labels), folder)
    assert list(images) == list(SEGMENTS)
    for name, image in images.items():
        mask = labels == NUMBERS[name]
        if mask.any():
            check_same_place(image, mask, grid)
        else:
            assert not np.asarray(image.dataobj).any(), name


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("make", [classic, enhanced])
def test_dcmqi_finds_every_segment_where_the_label_map_has_it(make, orientation, tmp_path):
    check_segments(make(orientation), lesion(SHAPE), tmp_path)


@pytest.mark.parametrize("slices", SLICES)
@pytest.mark.parametrize("orientation", ["oblique", "reversed"])
def test_dcmqi_finds_segments_in_few_slices(orientation, slices, tmp_path):
    labels = np.zeros(SHAPE, np.uint8)
    for index, number in SLICES[slices].items():
        labels[3:12, 5 + index : 19, index] = number
    check_segments(classic(orientation), labels, tmp_path)


def test_dcmqi_finds_three_segments_without_a_voxel_in_an_empty_label_map(tmp_path):
    check_segments(classic("oblique"), np.zeros(SHAPE, np.uint8), tmp_path)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("make", [classic, enhanced])
def test_dcmqi_reads_the_volumes_and_the_quality_estimate(make, orientation, tmp_path):
    files, labels = make(orientation), lesion(SHAPE)
    findings = make_findings(files, labels)
    expected = {}
    for name in SEGMENTS:
        volume_ml = np.count_nonzero(labels == NUMBERS[name]) * 0.9 * 0.8 * 5 / 1000
        expected[name] = {"Volume": (pytest.approx(volume_ml, abs=0.00051), "ml")}
    for name, region in findings.regions.items():
        expected[name] = {"Volume": (region.volume_ml, "ml")}
        if region.predicted_dice is not None:
            expected[name]["Predicted Dice coefficient"] = (region.predicted_dice, "1")
    groups = read_report(encode_objects(files, labels)["report.dcm"], tmp_path)
    found = {
        name: {
            item["quantity"]["CodeMeaning"]: (float(item["value"]), item["units"]["CodeValue"])
            for item in group["measurementItems"]
        }
        for name, group in groups.items()
    }
    assert found == expected


@pytest.mark.parametrize("make", [classic, enhanced])
def test_dcmqi_follows_the_report_to_the_segments_and_the_images(make, tmp_path):
    files = make("oblique")
    objects = encode_objects(files, lesion(SHAPE))
    groups = read_report(objects["report.dcm"], tmp_path)
    segmentation = dcmread(BytesIO(objects["segmentation.dcm"]))
    for segment in segmentation.SegmentSequence:
        group = groups[segment.TrackingID]
        assert group["TrackingUniqueIdentifier"] == segment.TrackingUID
        assert group["ReferencedSegment"] == segment.SegmentNumber
        assert group["segmentationSOPInstanceUID"] == segmentation.SOPInstanceUID
    images = set(json.loads((tmp_path / "report.json").read_text())["imageLibrary"])
    assert images == {header.SOPInstanceUID for header in read_reference(files)[1]}
