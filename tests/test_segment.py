"""POST /segment and its neighbours, through HTTP."""

import gzip
import json
import re
from io import BytesIO
from zipfile import ZIP_DEFLATED, ZipFile

import nibabel as nib
import numpy as np
import pytest
from known_networks import known_masks

from service.phantom import ENDINGS, TUMOUR, encode_phantom, zip_files
from service.segmentation.case import GROUND_TRUTH, Modality, role_of
from service.segmentation.labels import EnhancingLabel, Region, label_map
from service.segmentation.volume import Volume


def send_zip(client, body, **headers):
    return client.post("/segment", files={"file": ("case.zip", body)}, headers=headers)


def mask_in(data: bytes) -> nib.Nifti1Image:
    return nib.Nifti1Image.from_bytes(gzip.decompress(data))


def repack(files: dict[str, bytes], drop: str | None = None, **replaced: bytes) -> bytes:
    """The phantom as a zip, one role dropped, some roles' files replaced."""
    by_role = {role_of(name): data for name, data in files.items() if role_of(name) != drop}
    return zip_files({f"{ENDINGS[role]}.nii.gz": replaced.get(role, data) for role, data in by_role.items()})


def problem_of(response, status, kind):
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["type"] == f"urn:glioserve:problem:{kind}"
    assert problem["status"] == status
    assert not re.search(r"(^|[\s'\"])/|\.py\b|Traceback|phantom", problem["detail"])  # no path, no file name
    return problem["detail"]


@pytest.fixture(scope="module")
def answer(client, phantom_zip):
    response = send_zip(client, phantom_zip)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/zip"
    return ZipFile(BytesIO(response.content))


@pytest.fixture(scope="module")
def report(answer):
    return json.loads(answer.read("report.json"))


def test_the_default_answer_is_a_zip_of_mask_and_report(answer):
    assert answer.namelist() == ["segmentation.nii.gz", "report.json"]
    assert answer.testzip() is None


def test_the_mask_is_the_known_one_on_the_grid_of_the_input(answer, phantom):
    mask = mask_in(answer.read("segmentation.nii.gz"))
    assert np.array_equal(np.asarray(mask.dataobj), label_map(known_masks(phantom), EnhancingLabel.BRATS_2022))
    assert np.array_equal(mask.affine, phantom["T1"].affine)
    assert mask.get_data_dtype() == np.uint8


def test_the_report_gives_volumes_and_scores_by_region(report):
    for region, ellipsoid in TUMOUR.items():
        assert report["regions"][region]["volume_ml"] == pytest.approx(ellipsoid.volume_ml, rel=0.03)
    for region in Region:
        agreement = report["regions"][region]["agreement"]
        assert 0.95 < agreement["dice"] < 1
        assert set(agreement) == {"dice", "sensitivity", "specificity", "hd95_mm"}


def test_the_report_describes_input_model_labels_and_purpose(report):
    assert report["input"] == {"shape": [150, 180, 50], "spacing_mm": [1, 1, 1], "orientation": "LPS"}
    assert (report["model"]["name"], report["model"]["version"]) == ("known", "1")
    assert len(report["model"]["sha256"]) == 64
    assert report["labels"] == {"necrotic_core": 1, "oedema": 2, "enhancing_tumour": 4}
    assert report["voxels_changed_by_nesting"] > 1000
    assert report["warnings"] == []
    assert "Not a medical device" in report["notice"]


def test_the_report_times_every_stage(report):
    assert list(report["timings_ms"]) == [
        "receive",
        "wait",
        "decode",
        "normalise",
        "predict_wt",
        "predict_tc",
        "predict_et",
        "fuse",
        "measure",
        "encode",
    ]
    assert all(milliseconds > 0 for stage, milliseconds in report["timings_ms"].items() if stage != "wait")


def test_every_form_of_request_gives_the_same_mask(client, phantom_files, phantom_zip, answer):
    expected = answer.read("segmentation.nii.gz")
    parts = {ENDINGS[role_of(name)]: ("any name", data) for name, data in phantom_files.items()}
    headers = {"Accept": "application/gzip"}
    requests = [
        client.post("/segment", files=parts, headers=headers),
        client.post("/segment", content=phantom_zip, headers=headers | {"Content-Type": "application/zip"}),
        send_zip(client, phantom_zip, **headers),
    ]
    assert [response.content == expected for response in requests] == [True] * 3


def test_json_is_the_report_alone(client, phantom_zip, report):
    response = send_zip(client, phantom_zip, Accept="application/json")
    assert response.headers["content-type"] == "application/json"
    assert response.json()["regions"] == report["regions"]


def test_a_case_without_ground_truth_has_no_scores(client, phantom_files):
    response = send_zip(client, repack(phantom_files, drop=GROUND_TRUTH), Accept="application/json")
    assert all(region["agreement"] is None for region in response.json()["regions"].values())


def test_labels_of_2023_are_given_on_request_and_understood_in_the_ground_truth(client, phantom, phantom_files, report):
    truth = phantom[GROUND_TRUTH].voxels
    truth_2023 = encode_phantom({GROUND_TRUTH: Volume(np.where(truth == 4, 3, truth), phantom["T1"].affine)})
    body = repack(phantom_files, **{GROUND_TRUTH: next(iter(truth_2023.values()))})
    response = client.post("/segment?enhancing_label=3", files={"file": body})
    parts = ZipFile(BytesIO(response.content))
    found = json.loads(parts.read("report.json"))
    assert found["regions"] == report["regions"]
    assert found["labels"]["enhancing_tumour"] == 3
    assert np.unique(np.asarray(mask_in(parts.read("segmentation.nii.gz")).dataobj)).tolist() == [0, 1, 2, 3]


def test_entries_that_are_no_images_are_left_alone(client, phantom_files, answer):
    body = BytesIO()
    with ZipFile(body, "w", ZIP_DEFLATED) as archive:
        for name, data in phantom_files.items():
            archive.writestr(name, data)
        archive.writestr("phantom/readme.txt", "a word")
        archive.writestr("__MACOSX/phantom/._phantom_t1.nii.gz", "a companion")
        archive.writestr("phantom/phantom_pred.nii.gz", "another mask")
    response = send_zip(client, body.getvalue(), Accept="application/gzip")
    assert response.content == answer.read("segmentation.nii.gz")


def test_what_is_no_zip_is_400(client):
    detail = problem_of(send_zip(client, b"not a zip"), 400, "broken-archive")
    assert "expected a whole zip" in detail


def test_an_image_that_is_damaged_within_a_zip_is_400(client, phantom_zip):
    broken = bytearray(phantom_zip)
    broken[200:260] = bytes(60)
    problem_of(send_zip(client, bytes(broken)), 400, "malformed-image")


def test_a_broken_nifti_is_400_and_names_the_modality(client, phantom_files):
    body = repack(phantom_files, **{Modality.T1GD: b"no image"})
    assert problem_of(send_zip(client, body), 400, "malformed-image").startswith("T1Gd: expected")


def test_a_body_over_the_limit_is_413(client):
    assert "at most 16 MiB" in problem_of(send_zip(client, bytes(17 * 2**20)), 413, "too-large")


def test_a_body_of_unknown_length_over_the_limit_is_413(client):
    chunks = (bytes(2**20) for _ in range(17))
    response = client.post("/segment", content=chunks, headers={"Content-Type": "application/zip"})
    problem_of(response, 413, "too-large")


def test_a_zip_that_unpacks_to_too_much_is_413(client):
    bomb = BytesIO()
    with ZipFile(bomb, "w", ZIP_DEFLATED) as archive:
        for word in ENDINGS.values():
            archive.writestr(f"{word}.nii", bytes(40 * 2**20))
    assert "at most 128 MiB unpacked" in problem_of(send_zip(client, bomb.getvalue()), 413, "too-large")


def test_an_image_of_too_many_voxels_is_413(client, phantom_files):
    header = nib.Nifti1Header()
    header.set_data_shape((2000, 2000, 2000))
    header["magic"], header["vox_offset"] = b"n+1", 352
    body = repack(phantom_files, **{Modality.T2: header.binaryblock + bytes(4)})
    problem_of(send_zip(client, body), 413, "too-large")


def test_another_content_type_is_415(client):
    response = client.post("/segment", content=b"{}", headers={"Content-Type": "application/json"})
    assert "found application/json" in problem_of(response, 415, "media-type")


def test_an_answer_that_cannot_be_given_is_406(client, phantom_zip):
    assert "found image/png" in problem_of(send_zip(client, phantom_zip, Accept="image/png"), 406, "not-acceptable")


def test_a_missing_modality_is_422_and_named(client, phantom_files):
    detail = problem_of(send_zip(client, repack(phantom_files, drop=Modality.FLAIR)), 422, "modalities")
    assert detail.startswith("FLAIR: missing; found T1, T1Gd, T2")


def test_a_doubled_modality_is_422_and_named(client, phantom_files):
    body = zip_files(phantom_files | {"copy/again_t2.nii": b""})
    assert problem_of(send_zip(client, body), 422, "modalities").startswith("T2: expected one volume, found 2")


def test_geometry_that_differs_is_422_with_both_values(client, phantom, phantom_files):
    other = encode_phantom({Modality.T2: Volume(phantom["T2"].voxels[:-1], phantom["T2"].affine)})
    body = repack(phantom_files, **{Modality.T2: next(iter(other.values()))})
    detail = problem_of(send_zip(client, body), 422, "geometry")
    assert "(150, 180, 50)" in detail
    assert "(149, 180, 50)" in detail


def test_unusable_intensities_are_422(client, phantom, phantom_files):
    empty = encode_phantom({Modality.T2: Volume(np.zeros_like(phantom["T2"].voxels), phantom["T2"].affine)})
    body = repack(phantom_files, **{Modality.T2: next(iter(empty.values()))})
    assert problem_of(send_zip(client, body), 422, "intensities").startswith("T2: expected varying")


def test_unknown_labels_are_422(client, phantom, phantom_files):
    truth = encode_phantom({GROUND_TRUTH: Volume(phantom[GROUND_TRUTH].voxels + np.uint8(4), phantom["T1"].affine)})
    body = repack(phantom_files, **{GROUND_TRUTH: next(iter(truth.values()))})
    assert "expected labels 0, 1, 2, 4" in problem_of(send_zip(client, body), 422, "labels")


def test_another_enhancing_label_is_422(client, phantom_zip):
    response = client.post("/segment?enhancing_label=5", files={"file": phantom_zip})
    assert "enhancing_label" in problem_of(response, 422, "invalid-parameter")


@pytest.mark.parametrize(
    "files",
    [{"zip": b""}, {"file": b"", "t1": b""}, {"t1": b"", "brain": b""}],
    ids=["wrong name", "both forms", "unknown modality"],
)
def test_parts_that_make_no_case_are_400_and_named_if_they_are_known(client, files):
    detail = problem_of(client.post("/segment", files=files), 400, "malformed-upload")
    found = [name if name in ("file", "t1") else "another name" for name in files]
    assert detail.endswith(f"found {', '.join(found)}.")


def test_a_part_that_is_no_file_is_400(client):
    response = client.post("/segment", data={"file": "text"}, files={"x": b""})
    problem_of(response, 400, "malformed-upload")


def test_a_multipart_body_that_cannot_be_parsed_is_400(client):
    response = client.post("/segment", content=b"junk", headers={"Content-Type": "multipart/form-data"})
    problem_of(response, 400, "malformed-upload")


def multipart(*parts: bytes, end: bytes = b"--x--\r\n") -> dict[str, object]:
    """A request of parts as given, each a header and a body."""
    body = b"".join(b"--x\r\n" + part + b"\r\n" for part in parts) + end
    return {"content": body, "headers": {"Content-Type": "multipart/form-data; boundary=x"}}


def part(disposition: bytes, body: bytes = b"data") -> bytes:
    return b"Content-Disposition: form-data; " + disposition + b"\r\n\r\n" + body


def test_a_multipart_body_that_is_cut_off_is_400(client):
    request = multipart(part(b'name="file"; filename="case.zip"'), end=b"")
    assert "closing boundary" in problem_of(client.post("/segment", **request), 400, "malformed-upload")


@pytest.mark.parametrize("name", [b"../../etc/passwd", b"", b"\xff\xfe", b"file.nii/../x"])
def test_a_part_of_another_name_never_reaches_the_disk(name, client):
    folder = client.app.state.lifetime.queue.spool.folder
    before = list(folder.rglob("*"))
    request = multipart(part(b'name="' + name + b'"; filename="x"'))
    problem_of(client.post("/segment", **request), 400, "malformed-upload")
    assert list(folder.rglob("*")) == before


def test_a_part_named_like_a_path_is_only_a_modality(client, phantom_files):
    by_word = {ENDINGS[role_of(name)]: data for name, data in phantom_files.items()}
    request = multipart(
        *(part(b'name="../../%s"; filename="x"' % word.encode(), data) for word, data in by_word.items())
    )
    assert client.post("/segment", **request).status_code == 200


@pytest.mark.parametrize(
    "disposition",
    [b'name="DOE^JANE"; filename="x"', b'name="DOE^JANE"', b'name="DOE^JANE_t1"; filename="x"', b'name="DOE^JANE_t1"'],
)
def test_no_message_quotes_the_name_of_a_part(disposition, client):
    response = client.post("/segment", **multipart(part(disposition), part(disposition)))
    assert "DOE" not in problem_of(response, 400, "malformed-upload")


@pytest.mark.parametrize("headers", [b"X: " + b"y" * 9000, b"y" * 9000 + b": X", b"\r\n".join([b"X: y"] * 3000)])
def test_a_part_with_endless_headers_is_400(headers, client):
    request = multipart(headers + b"\r\n" + part(b'name="file"; filename="x"'))
    problem_of(client.post("/segment", **request), 400, "malformed-upload")


def test_a_boundary_that_no_parser_takes_is_400(client):
    headers = {"Content-Type": f"multipart/form-data; boundary={'x' * 5000}"}
    problem_of(client.post("/segment", content=b"x", headers=headers), 400, "malformed-upload")


def test_a_length_over_the_limit_is_413_however_large(client):
    headers = {"Content-Type": "application/zip", "Content-Length": "99999999999999"}
    problem_of(client.post("/segment", content=b"x", headers=headers), 413, "too-large")


def test_an_empty_raw_body_is_400(client):
    response = client.post("/segment", content=b"", headers={"Content-Type": "application/zip"})
    assert "found nothing" in problem_of(response, 400, "malformed-upload")


def test_an_unknown_path_and_method_are_problems_too(client):
    for response, status in ((client.get("/nothing"), 404), (client.get("/segment"), 405)):
        assert response.status_code == status
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["type"] == "about:blank"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("GET", "/segment", "POST"), ("PUT", "/jobs/x", "DELETE, GET, HEAD"), ("POST", "/metrics", "GET, HEAD")],
)
def test_a_method_that_an_address_lacks_is_told_all_that_it_has(method, path, allowed, client):
    response = client.request(method, path)
    assert (response.status_code, response.headers["Allow"]) == (405, allowed)


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/models", "/metrics", "/openapi.json"])
def test_what_can_be_got_has_a_head(path, client):
    assert client.head(path).status_code == 200


def test_a_slash_too_much_is_an_unknown_path(client, phantom_zip):
    assert client.post("/segment/", files={"file": phantom_zip}, follow_redirects=False).status_code == 404


@pytest.mark.parametrize(
    "doubled",
    [
        {"params": [("enhancing_label", "3"), ("enhancing_label", "4")]},
        {"headers": [("Idempotency-Key", "one"), ("Idempotency-Key", "other")]},
    ],
)
def test_a_parameter_that_comes_twice_is_refused(doubled, client, phantom_zip):
    response = client.post("/segment", files={"file": phantom_zip}, **doubled)
    assert "expected once, found 2 times" in problem_of(response, 422, "invalid-parameter")


def test_accept_may_come_in_several_lines(client, phantom_zip):
    headers = [("Accept", "text/html"), ("Accept", "application/json")]
    response = client.post("/segment", files={"file": phantom_zip}, headers=headers)
    assert response.headers["Content-Type"] == "application/json"


def test_the_service_is_alive_and_ready(client):
    assert client.get("/livez").json() == {"status": "alive"}
    assert client.get("/readyz").json() == {"status": "ready"}


def test_models_gives_the_cards(client):
    cards = client.get("/models").json()
    assert sorted(region for card in cards for region in card["regions"]) == ["ET", "TC", "WT"]
    assert all(card["intended_use"] == "tests" for card in cards)
