"""DICOM studies through the whole service."""

import pytest
from support.api import open_answer, post_case, read_mask, read_problem, read_report
from support.dicom_files import PATIENT, make_study
from support.dicom_segmentation import read_segments
from support.raw_series import AXIAL, make_raw_case
from test_raw_cases import as_files

from service.imaging.case import Modality
from service.imaging.phantom import zip_files


@pytest.fixture(scope="module")
def images():
    """The images of a raw case."""
    return {role: volume for role, volume in make_raw_case().items() if role in set(Modality)}


@pytest.fixture(scope="module")
def study(images):
    return make_study(images)


def test_a_study_has_the_answer_of_its_images(client, images, study):
    expected = open_answer(post_case(client, zip_files(as_files(images))))
    found = open_answer(post_case(client, zip_files(study)))
    assert (read_mask(found).get_fdata() == read_mask(expected).get_fdata()).all()
    assert (read_mask(found).affine == AXIAL.affine).all()
    report = read_report(found)
    assert report["regions"] == read_report(expected)["regions"]
    assert report["input"]["series"]["FLAIR"] == {
        "number": 5,
        "reason": "TI from 1550, TR from 3500 and TE from 40 ms",
    }
    assert PATIENT not in str(report)


def test_the_files_of_a_study_may_be_the_parts_of_a_form(client, study):
    files = [("dicom", (f"{PATIENT}/{name}", data)) for name, data in study.items()]
    expected = open_answer(post_case(client, zip_files(study)))
    found = open_answer(client.post("/segment", files=files))
    assert read_mask(found).to_bytes() == read_mask(expected).to_bytes()
    assert read_report(found)["input"]["series"] == read_report(expected)["input"]["series"]


def test_a_study_without_t1gd_is_a_clear_problem(client, images):
    body = zip_files(make_study({role: images[role] for role in images if role != Modality.T1GD}))
    detail = read_problem(post_case(client, body), 422, "modalities")
    assert detail.startswith("T1Gd: no usable series. Found: series 1: not used (a localiser); series 2: T1 (TR below")


def test_the_caller_can_choose_the_series(client, study):
    detail = read_problem(post_case(client, zip_files(study), "?series=t1gd:9,t2:4"), 422, "modalities")
    assert detail.startswith("T1Gd: expected series 9 to be a usable MR image. Found: ")


@pytest.mark.parametrize("series", ["t1gd", "t1gd:x", "t3:1", "t1:1;t2:2", "t1:1,,t2:2", "t1:1,t1:2"])
def test_an_invalid_choice_of_series_is_rejected(client, study, series):
    detail = read_problem(post_case(client, zip_files(study), f"?series={series}"), 422, "invalid-parameter")
    assert detail in (
        "query.series: expected a value such as t1gd:7,flair:4",
        "query.series: expected every modality at most once",
    )


def test_a_zip_of_neither_images_nor_dicom_names_what_was_expected(client):
    detail = read_problem(post_case(client, zip_files({"scan.txt": b"text" * 100})), 422, "modalities")
    assert "found none of the modalities" in detail


def test_the_label_map_comes_back_as_dicom(client, study):
    files = open_answer(post_case(client, zip_files(study), "?output=dicom"))
    labels = read_mask(files).get_fdata()
    masks = read_segments(files.read("segmentation.dcm"), AXIAL)
    numbers = read_report(files)["labels"]
    assert all((masks[name] == (labels == number)).all() for name, number in numbers.items())
    assert all(mask.any() for mask in masks.values())


def test_dicom_output_needs_a_dicom_study(client, images):
    detail = read_problem(post_case(client, zip_files(as_files(images)), "?output=dicom"), 422, "modalities")
    assert (
        detail
        == "?output=dicom: expected a label map on the grid of a DICOM series. Send a DICOM study, not ?grid=working."
    )
