"""POST /segment, the probes and /models, through HTTP."""

import nibabel as nib
import numpy as np
import pytest
from support.api import ACCEPT_MASK, open_answer, post_case, read_mask, read_problem, read_report
from support.case_files import MODALITY_NAMES, make_zip, rename_by_role, zip_case
from support.known_networks import known_masks

from service.imaging.case import GROUND_TRUTH, Modality
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
    assert report["input"] == {"shape": [150, 180, 50], "spacing_mm": [1, 1, 1], "orientation": "LPS"}
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


def test_every_form_of_upload_gives_the_same_mask(client, phantom_files, phantom_zip, answer):
    expected = answer.read("segmentation.nii.gz")
    parts = {name: ("any name", data) for name, data in rename_by_role(phantom_files).items()}
    responses = [
        client.post("/segment", files=parts, headers=ACCEPT_MASK),
        client.post("/segment", content=phantom_zip, headers=ACCEPT_MASK | {"Content-Type": "application/zip"}),
        post_case(client, phantom_zip, **ACCEPT_MASK),
    ]
    assert [response.content == expected for response in responses] == [True] * 3


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


def test_a_body_that_is_not_a_zip_is_400(client):
    detail = read_problem(post_case(client, b"not a zip"), 400, "broken-archive")
    assert "expected a whole zip" in detail


def test_a_damaged_image_in_a_zip_is_400(client, phantom_zip):
    broken = bytearray(phantom_zip)
    broken[200:260] = bytes(60)
    read_problem(post_case(client, bytes(broken)), 400, "malformed-image")


def test_an_invalid_nifti_file_is_400_and_names_the_modality(client, phantom_files):
    body = zip_case(phantom_files, **{Modality.T1GD: b"no image"})
    assert read_problem(post_case(client, body), 400, "malformed-image").startswith("T1Gd: expected")


def test_a_body_over_the_limit_is_413(client):
    assert "at most 16 MiB" in read_problem(post_case(client, bytes(17 * 2**20)), 413, "too-large")


def test_a_body_of_unknown_length_over_the_limit_is_413(client):
    chunks = (bytes(2**20) for _ in range(17))
    response = client.post("/segment", content=chunks, headers={"Content-Type": "application/zip"})
    read_problem(response, 413, "too-large")


def test_a_zip_over_the_unpacked_limit_is_413(client):
    bomb = make_zip({f"{name}.nii": bytes(40 * 2**20) for name in MODALITY_NAMES})
    assert "at most 128 MiB unpacked" in read_problem(post_case(client, bomb), 413, "too-large")


def test_an_image_with_too_many_voxels_is_413(client, phantom_files):
    header = nib.Nifti1Header()
    header.set_data_shape((2000, 2000, 2000))
    header["magic"], header["vox_offset"] = b"n+1", 352
    body = zip_case(phantom_files, **{Modality.T2: header.binaryblock + bytes(4)})
    read_problem(post_case(client, body), 413, "too-large")


def test_an_unsupported_content_type_is_415(client):
    response = client.post("/segment", content=b"{}", headers={"Content-Type": "application/json"})
    assert "found application/json" in read_problem(response, 415, "media-type")


def test_an_unsupported_accept_header_is_406(client, phantom_zip):
    assert "found image/png" in read_problem(post_case(client, phantom_zip, Accept="image/png"), 406, "not-acceptable")


def test_a_missing_modality_is_422_and_is_named(client, phantom_files):
    detail = read_problem(post_case(client, zip_case(phantom_files, drop=Modality.FLAIR)), 422, "modalities")
    assert detail.startswith("FLAIR: missing; found T1, T1Gd, T2")


def test_a_duplicate_modality_is_422_and_is_named(client, phantom_files):
    body = zip_files(phantom_files | {"copy/again_t2.nii": b""})
    assert read_problem(post_case(client, body), 422, "modalities").startswith("T2: expected one volume, found 2")


def test_different_shapes_are_422_and_both_are_named(client, phantom, phantom_files):
    other = encode_phantom({Modality.T2: Volume(phantom["T2"].voxels[:-1], phantom["T2"].affine)})
    body = zip_case(phantom_files, **{Modality.T2: next(iter(other.values()))})
    detail = read_problem(post_case(client, body), 422, "geometry")
    assert "(150, 180, 50)" in detail
    assert "(149, 180, 50)" in detail


def test_constant_intensities_are_422(client, phantom, phantom_files):
    empty = encode_phantom({Modality.T2: Volume(np.zeros_like(phantom["T2"].voxels), phantom["T2"].affine)})
    body = zip_case(phantom_files, **{Modality.T2: next(iter(empty.values()))})
    assert read_problem(post_case(client, body), 422, "intensities").startswith("T2: expected varying")


def test_unknown_labels_are_422(client, phantom, phantom_files):
    truth = encode_phantom({GROUND_TRUTH: Volume(phantom[GROUND_TRUTH].voxels + np.uint8(4), phantom["T1"].affine)})
    body = zip_case(phantom_files, **{GROUND_TRUTH: next(iter(truth.values()))})
    assert "expected labels 0, 1, 2, 4" in read_problem(post_case(client, body), 422, "labels")


def test_an_unknown_enhancing_label_is_422(client, phantom_zip):
    response = client.post("/segment?enhancing_label=5", files={"file": phantom_zip})
    assert "enhancing_label" in read_problem(response, 422, "invalid-parameter")


@pytest.mark.parametrize(
    "files",
    [{"zip": b""}, {"file": b"", "t1": b""}, {"t1": b"", "brain": b""}],
    ids=["wrong name", "both forms", "unknown modality"],
)
def test_an_invalid_set_of_form_parts_is_400(client, files):
    detail = read_problem(client.post("/segment", files=files), 400, "malformed-upload")
    found = [name if name in ("file", "t1") else "another name" for name in files]
    assert detail.endswith(f"found {', '.join(found)}.")


def test_a_form_part_that_is_not_a_file_is_400(client):
    response = client.post("/segment", data={"file": "text"}, files={"x": b""})
    read_problem(response, 400, "malformed-upload")


def test_a_multipart_body_without_a_boundary_is_400(client):
    response = client.post("/segment", content=b"junk", headers={"Content-Type": "multipart/form-data"})
    read_problem(response, 400, "malformed-upload")


def multipart(*parts: bytes, end: bytes = b"--x--\r\n") -> dict[str, object]:
    """The arguments of a request with a multipart body of these parts, each of headers and content."""
    body = b"".join(b"--x\r\n" + part + b"\r\n" for part in parts) + end
    return {"content": body, "headers": {"Content-Type": "multipart/form-data; boundary=x"}}


def part(disposition: bytes, body: bytes = b"data") -> bytes:
    return b"Content-Disposition: form-data; " + disposition + b"\r\n\r\n" + body


def test_a_truncated_multipart_body_is_400(client):
    request = multipart(part(b'name="file"; filename="case.zip"'), end=b"")
    assert "closing boundary" in read_problem(client.post("/segment", **request), 400, "malformed-upload")


@pytest.mark.parametrize("name", [b"../../etc/passwd", b"", b"\xff\xfe", b"file.nii/../x"])
def test_a_form_part_with_an_unknown_name_is_not_written_to_disk(name, client):
    folder = client.app.state.runtime.queue.spool.folder
    before = set(folder.parent.rglob("*"))  # also beside the spool, where a path in the name would lead
    request = multipart(part(b'name="' + name + b'"; filename="x"'))
    read_problem(client.post("/segment", **request), 400, "malformed-upload")
    assert set(folder.parent.rglob("*")) <= before


def test_a_path_in_a_part_name_is_ignored(client, phantom_files):
    parts = rename_by_role(phantom_files)
    request = multipart(*(part(b'name="../../%s"; filename="x"' % name.encode(), data) for name, data in parts.items()))
    assert client.post("/segment", **request).status_code == 200


@pytest.mark.parametrize(
    "disposition",
    [b'name="DOE^JANE"; filename="x"', b'name="DOE^JANE"', b'name="DOE^JANE_t1"; filename="x"', b'name="DOE^JANE_t1"'],
)
def test_no_error_message_quotes_the_name_of_a_part(disposition, client):
    response = client.post("/segment", **multipart(part(disposition), part(disposition)))
    assert "DOE" not in read_problem(response, 400, "malformed-upload")


@pytest.mark.parametrize("headers", [b"X: " + b"y" * 9000, b"y" * 9000 + b": X", b"\r\n".join([b"X: y"] * 3000)])
def test_a_form_part_with_too_large_headers_is_400(headers, client):
    request = multipart(headers + b"\r\n" + part(b'name="file"; filename="x"'))
    read_problem(client.post("/segment", **request), 400, "malformed-upload")


def test_a_too_long_boundary_is_400(client):
    headers = {"Content-Type": f"multipart/form-data; boundary={'x' * 5000}"}
    read_problem(client.post("/segment", content=b"x", headers=headers), 400, "malformed-upload")


def test_a_content_length_over_the_limit_is_413(client):
    headers = {"Content-Type": "application/zip", "Content-Length": "99999999999999"}
    read_problem(client.post("/segment", content=b"x", headers=headers), 413, "too-large")


def test_an_empty_raw_body_is_400(client):
    response = client.post("/segment", content=b"", headers={"Content-Type": "application/zip"})
    assert "found nothing" in read_problem(response, 400, "malformed-upload")


def test_unknown_paths_and_methods_are_answered_with_problems(client):
    for response, status in ((client.get("/nothing"), 404), (client.get("/segment"), 405)):
        assert response.status_code == status
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["type"] == "about:blank"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("GET", "/segment", "POST"), ("PUT", "/jobs/x", "DELETE, GET, HEAD"), ("POST", "/metrics", "GET, HEAD")],
)
def test_a_405_response_lists_the_allowed_methods(method, path, allowed, client):
    response = client.request(method, path)
    assert (response.status_code, response.headers["Allow"]) == (405, allowed)


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/models", "/metrics", "/openapi.json"])
def test_get_routes_support_head(path, client):
    assert client.head(path).status_code == 200


def test_a_trailing_slash_is_404(client, phantom_zip):
    assert client.post("/segment/", files={"file": phantom_zip}, follow_redirects=False).status_code == 404


@pytest.mark.parametrize(
    "repeated",
    [
        {"params": [("enhancing_label", "3"), ("enhancing_label", "4")]},
        {"headers": [("Idempotency-Key", "one"), ("Idempotency-Key", "other")]},
    ],
)
def test_a_repeated_parameter_is_422(repeated, client, phantom_zip):
    response = client.post("/segment", files={"file": phantom_zip}, **repeated)
    assert "expected once, found 2 times" in read_problem(response, 422, "invalid-parameter")


def test_several_accept_headers_are_combined(client, phantom_zip):
    headers = [("Accept", "text/html"), ("Accept", "application/json")]
    response = client.post("/segment", files={"file": phantom_zip}, headers=headers)
    assert response.headers["Content-Type"] == "application/json"


def test_the_probes_report_alive_and_ready(client):
    assert client.get("/livez").json() == {"status": "alive"}
    assert client.get("/readyz").json() == {"status": "ready"}


def test_the_models_route_returns_the_model_cards(client):
    cards = client.get("/models").json()
    assert sorted(region for card in cards for region in card["regions"]) == ["ET", "TC", "WT"]
    assert all(card["intended_use"] == "tests" for card in cards)
