"""POST /segment with valid cases, through HTTP: mask and report."""

import numpy as np
import pytest
from support.api import ACCEPT_MASK, open_answer, post_case, read_mask, read_report
from support.case_files import make_zip, rename_by_role, zip_case
from support.known_networks import known_masks

from service.imaging.case import GROUND_TRUTH
from service.imaging.labels import EnhancingLabel, Region, label_map
from service.imaging.phantom import TUMOUR, encode_phantom, zip_files
from service.imaging.volume import Volume


@pytest.fixture(scope="module")
def answer(client, phantom_zip):
    return open_answer(post_case(client, phantom_zip))


@pytest.fixture(scope="module")
def report(answer):
    return read_report(answer)


def test_the_default_answer_is_a_zip_of_mask_and_report(answer):
    assert answer.namelist() == ["segmentation.nii.gz", "report.json"]
    assert answer.testzip() is None


def test_the_mask_is_the_known_one_on_the_input_grid(answer, phantom):
    mask = read_mask(answer)
    assert np.array_equal(np.asarray(mask.dataobj), label_map(known_masks(phantom), EnhancingLabel.BRATS_2022))
    assert np.array_equal(mask.affine, phantom["T1"].affine)
    assert mask.get_data_dtype() == np.uint8


def test_the_report_has_volume_and_scores_of_each_region(report):
    for region, ellipsoid in TUMOUR.items():
        assert report["regions"][region]["volume_ml"] == pytest.approx(ellipsoid.volume_ml, rel=0.03)
    for region in Region:
        scores = report["regions"][region]["scores"]
        assert 0.95 < scores["dice"] < 1
        assert set(scores) == {"dice", "sensitivity", "specificity", "hd95_mm"}


def test_the_report_describes_input_model_labels_and_intended_use(report):
    grid = {"shape": [150, 180, 50], "spacing_mm": [1, 1, 1], "orientation": "LPS"}
    assert report["input"] == grid | {"missing_modalities": [], "series": {}}
    assert (report["model"]["name"], report["model"]["version"]) == ("known", "1")
    assert len(report["model"]["sha256"]) == 64
    assert report["labels"] == {"necrotic_core": 1, "oedema": 2, "enhancing_tumour": 4}
    assert report["voxels_changed_by_nesting"] > 1000
    assert report["warnings"] == []
    assert "Not a medical device" in report["notice"]


def test_the_report_has_the_time_of_each_stage(report):
    assert list(report["timings_ms"]) == [
        "receive",
        "wait",
        "decode",
        "normalise",
        "predict_wt",
        "predict_tc",
        "predict_et",
        "resample",
        "measure",
        "encode",
    ]
    assert all(milliseconds > 0 for stage, milliseconds in report["timings_ms"].items() if stage != "wait")


def test_the_report_of_weights_without_a_fit_has_no_quality(report):
    assert [report["regions"][region]["quality"] for region in Region] == [None] * 3


def test_the_report_recommends_a_review_if_the_networks_disagree(report):
    assert report["review_recommended"] is True
    [reason] = report["review_reasons"]
    assert reason.startswith("The networks disagree")  # the TC network also finds the ventricles


def test_the_report_recommends_a_review_if_the_tumour_is_cut_off(client, phantom):
    # Rolled by five slices, the tumour reaches the last one; the intensities, and so the networks' answers, are equal.
    rolled = {name: Volume(np.roll(image.voxels, 5, axis=2), image.affine) for name, image in phantom.items()}
    response = post_case(client, zip_files(encode_phantom(rolled)), Accept="application/json")
    assert response.json()["review_reasons"][0].startswith("WT: the tumour reaches the edge of the field of view")


def test_every_form_of_upload_gives_the_same_mask(client, phantom_files, phantom_zip, answer):
    expected = answer.read("segmentation.nii.gz")
    parts = {name: ("any name", data) for name, data in rename_by_role(phantom_files).items()}
    responses = [
        client.post("/segment", files=parts, headers=ACCEPT_MASK),
        client.post("/segment", content=phantom_zip, headers=ACCEPT_MASK | {"Content-Type": "application/zip"}),
        post_case(client, phantom_zip, **ACCEPT_MASK),
        client.post("/segment", content=phantom_zip, headers=ACCEPT_MASK),  # without a type, which its bytes tell
        client.post("/segment", content=phantom_zip, headers=ACCEPT_MASK | {"Content-Type": "application/x-zip"}),
    ]
    assert [response.content == expected for response in responses] == [True] * 5


def test_a_json_answer_is_the_report_without_the_mask(client, phantom_zip, report):
    response = post_case(client, phantom_zip, Accept="application/json")
    assert response.headers["content-type"] == "application/json"
    assert response.json()["regions"] == report["regions"]


def test_a_case_without_ground_truth_has_no_scores(client, phantom_files):
    response = post_case(client, zip_case(phantom_files, drop=GROUND_TRUTH), Accept="application/json")
    assert all(region["scores"] is None for region in response.json()["regions"].values())


def test_brats_2023_labels_are_written_on_request_and_read_from_the_ground_truth(
    client, phantom, phantom_files, report
):
    truth = phantom[GROUND_TRUTH].voxels
    truth_2023 = encode_phantom({GROUND_TRUTH: Volume(np.where(truth == 4, 3, truth), phantom["T1"].affine)})
    body = zip_case(phantom_files, **{GROUND_TRUTH: next(iter(truth_2023.values()))})
    response = client.post("/segment?enhancing_label=3", files={"file": body})
    answer_2023 = open_answer(response)
    report_2023 = read_report(answer_2023)
    assert report_2023["regions"] == report["regions"]
    assert report_2023["labels"]["enhancing_tumour"] == 3
    assert np.unique(np.asarray(read_mask(answer_2023).dataobj)).tolist() == [0, 1, 2, 3]


def test_other_entries_of_a_zip_are_ignored(client, phantom_files, answer):
    others = {
        "phantom/readme.txt": b"a text",
        "__MACOSX/phantom/._phantom_t1.nii.gz": b"a resource fork",
        "phantom/phantom_pred.nii.gz": b"another mask",
    }
    response = post_case(client, make_zip(phantom_files | others), **ACCEPT_MASK)
    assert response.content == answer.read("segmentation.nii.gz")
