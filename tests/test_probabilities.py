"""POST /segment?probabilities=true, through HTTP: the probability maps in the zip."""

import gzip

import nibabel as nib
import numpy as np
import pytest
from support.api import ASYNC, open_answer, post_case, read_problem, wait_for_job
from support.known_networks import threshold_masks

from service.imaging.labels import Region
from service.imaging.phantom import encode_phantom, zip_files
from service.imaging.volume import Volume

USUAL = ["segmentation.nii.gz", "report.json"]
MAPS = {
    Region.WT: "probability_wt.nii.gz",
    Region.TC: "probability_tc.nii.gz",
    Region.ET: "probability_et.nii.gz",
}


def post(client, body, query="?probabilities=true", **headers):
    return post_case(client, body, query, **headers)


def read_maps(answer) -> dict[Region, nib.Nifti1Image]:
    """The probability maps of an answer."""
    return {region: nib.Nifti1Image.from_bytes(gzip.decompress(answer.read(name))) for region, name in MAPS.items()}


@pytest.fixture(scope="module")
def answer(client, phantom_zip):
    return open_answer(post(client, phantom_zip))


@pytest.fixture(scope="module")
def maps(answer):
    return read_maps(answer)


@pytest.fixture(scope="module")
def whole_tumour_slices(phantom):
    """Whether each slice contains whole tumour: the networks of the inner regions ran only there."""
    return threshold_masks(phantom)[Region.WT].any(axis=(0, 1))


def test_the_zip_contains_a_probability_map_of_each_region(answer):
    assert sorted(answer.namelist()) == sorted([*USUAL, *MAPS.values()])
    assert answer.testzip() is None


@pytest.mark.parametrize("query", ["", "?probabilities=false"])
def test_without_the_parameter_the_zip_has_the_usual_files(client, phantom_zip, answer, query):
    usual = open_answer(post(client, phantom_zip, query))
    assert usual.namelist() == USUAL
    assert usual.read("segmentation.nii.gz") == answer.read("segmentation.nii.gz")


@pytest.mark.parametrize("region", Region)
def test_a_map_is_stored_in_bytes_on_the_grid_of_the_input_and_read_as_probabilities(maps, phantom, region):
    image = maps[region]
    assert image.get_data_dtype() == np.uint8
    assert image.dataobj.slope == pytest.approx(1 / 255)
    assert image.dataobj.inter == 0
    assert image.shape == (150, 180, 50)
    assert np.array_equal(image.affine, phantom["T1"].affine)
    values = image.get_fdata()
    assert (values.min(), values.max()) == pytest.approx((0, 1))
    assert np.array_equal(np.round(255 * values), image.dataobj.get_unscaled())


@pytest.mark.parametrize("region", Region)
def test_a_map_exceeds_one_half_exactly_where_the_network_finds_its_region(maps, phantom, whole_tumour_slices, region):
    found = maps[region].get_fdata() > 0.5
    assert found.sum() > 1000
    assert np.array_equal(found, threshold_masks(phantom)[region] & whole_tumour_slices)


@pytest.mark.parametrize("region", [Region.TC, Region.ET])
def test_the_map_of_an_inner_region_is_zero_in_slices_without_whole_tumour(maps, whole_tumour_slices, region):
    assert not whole_tumour_slices.all()
    assert not maps[region].get_fdata()[:, :, ~whole_tumour_slices].any()


def test_the_maps_of_an_image_in_another_storage_order_are_in_that_order(client, phantom, maps):
    def turn(image):
        """The same image, stored from inferior to superior as its first axis and from left to right as its last."""
        return nib.Nifti1Image(image.dataobj, image.affine).as_reoriented(np.array([[2, -1], [1, 1], [0, 1]]))

    images = {name: turn(nib.Nifti1Image(volume.voxels, volume.affine)) for name, volume in phantom.items()}
    volumes = {name: Volume(np.asarray(image.dataobj), image.affine) for name, image in images.items()}
    turned = read_maps(open_answer(post(client, zip_files(encode_phantom(volumes)))))
    for region in Region:
        expected = turn(maps[region])
        assert np.array_equal(turned[region].get_fdata(), expected.get_fdata())
        assert np.array_equal(turned[region].affine, expected.affine)


def test_the_result_of_a_job_contains_the_maps(client, phantom_zip, answer):
    response = post(client, phantom_zip, **ASYNC)
    assert response.status_code == 202
    job = response.headers["Location"]
    assert wait_for_job(client, job)["state"] == "done"
    result = open_answer(client.get(f"{job}/result"))
    for name in ["segmentation.nii.gz", *MAPS.values()]:
        assert result.read(name) == answer.read(name)


@pytest.mark.parametrize("values", [("true", "false"), ("true", "true")], ids=str)
def test_a_repeated_parameter_is_422(client, phantom_zip, values):
    response = post(client, phantom_zip, "?" + "&".join(f"probabilities={value}" for value in values))
    assert "probabilities: expected once, found 2 times" in read_problem(response, 422, "invalid-parameter")


def test_a_value_that_is_not_boolean_is_422(client, phantom_zip):
    assert "probabilities" in read_problem(post(client, phantom_zip, "?probabilities=2"), 422, "invalid-parameter")


@pytest.mark.parametrize(("first", "second"), [("true", "false"), ("false", "true")])
def test_an_idempotency_key_with_another_value_of_the_parameter_is_409(client, phantom_zip, first, second):
    key = {"Idempotency-Key": f"maps-{first}"}
    job = post(client, phantom_zip, f"?probabilities={first}", **key, **ASYNC).headers["Location"]
    read_problem(post(client, phantom_zip, f"?probabilities={second}", **key), 409, "key-reused")
    repeated = post(client, phantom_zip, f"?probabilities={first}", **key, **ASYNC)
    assert repeated.headers["Location"] == job
    assert wait_for_job(client, job)["state"] == "done"
