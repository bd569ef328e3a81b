"""POST /segment with cases that it rejects, and the problem of each."""

import nibabel as nib
import numpy as np
from support.api import post_case, read_problem
from support.case_files import MODALITY_NAMES, make_zip, zip_case

from service.imaging.case import GROUND_TRUTH, Modality
from service.imaging.phantom import encode_phantom, zip_files
from service.imaging.volume import Volume


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


def test_a_compressed_body_is_415(client, phantom_zip):
    headers = {"Content-Type": "application/zip", "Content-Encoding": "gzip"}
    response = client.post("/segment", content=phantom_zip, headers=headers)
    assert "Content-Encoding: expected none, found gzip" in read_problem(response, 415, "media-type")


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


def test_the_same_image_as_two_modalities_is_422_and_both_are_named(client, phantom_files):
    body = zip_case(phantom_files, **{Modality.FLAIR: phantom_files["phantom/phantom_t1.nii.gz"]})
    detail = read_problem(post_case(client, body), 422, "modalities")
    assert detail.startswith("T1 and FLAIR: expected two different images")


def test_different_shapes_are_422_and_both_are_named(client, phantom, phantom_files):
    other = encode_phantom({Modality.T2: Volume(phantom["T2"].voxels[:-1], phantom["T2"].affine)})
    body = zip_case(phantom_files, **{Modality.T2: next(iter(other.values()))})
    detail = read_problem(post_case(client, body, "?prepare=never"), 422, "geometry")
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


def test_a_misspelt_parameter_is_422(client, phantom_zip):
    response = client.post("/segment?enhancing_lable=3", files={"file": phantom_zip})
    assert "enhancing_lable" in read_problem(response, 422, "invalid-parameter")


def test_an_unknown_enhancing_label_is_422(client, phantom_zip):
    response = client.post("/segment?enhancing_label=5", files={"file": phantom_zip})
    assert "enhancing_label" in read_problem(response, 422, "invalid-parameter")


def test_a_content_length_over_the_limit_is_413(client):
    headers = {"Content-Type": "application/zip", "Content-Length": "99999999999999"}
    read_problem(client.post("/segment", content=b"x", headers=headers), 413, "too-large")


def test_an_empty_raw_body_is_400(client):
    response = client.post("/segment", content=b"", headers={"Content-Type": "application/zip"})
    assert "found nothing" in read_problem(response, 400, "malformed-upload")
