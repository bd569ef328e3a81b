import gzip
import struct
from time import sleep

import nibabel as nib
import numpy as np
import pytest
from support.api import post_case, read_problem
from support.case_files import make_nifti
from support.malicious_images import IMAGES

from service.imaging.errors import GeometryError, MalformedImageError
from service.imaging.formats import decode
from service.imaging.nifti import encode_nifti
from service.imaging.volume import Grid, Volume

NEARLY_SINGULAR = np.array([[1, 1, 0, 0], [0, 1e-20, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
AFFINE = np.array([[0, -2, 0, 10.5], [-1, 0, 0, 20], [0, 0, 3, -7], [0, 0, 0, 1.0]])


def test_an_encoded_volume_decodes_unchanged():
    volume = Volume(np.arange(24, dtype=np.uint8).reshape(2, 3, 4), AFFINE)
    decoded = decode(encode_nifti(volume), "T1")
    assert np.array_equal(decoded.voxels, volume.voxels)
    assert np.array_equal(decoded.affine, AFFINE)


def test_volumes_encoded_at_different_times_are_identical():
    volume = Volume(np.ones((2, 3, 4), dtype=np.uint8), AFFINE)
    earlier = encode_nifti(volume)
    sleep(1.1)  # time stamps in gzip files have a resolution of one second
    assert encode_nifti(volume) == earlier


def test_compression_is_detected_from_the_content():
    plain = make_nifti(np.ones((2, 3, 4), np.int16))
    assert np.array_equal(decode(plain, "T1").voxels, decode(gzip.compress(plain), "T1").voxels)


def test_scaled_integers_are_scaled():
    image = nib.Nifti1Image(np.ones((2, 3, 4), np.int16), AFFINE)
    image.header.set_slope_inter(2, 5)
    raw = bytearray(image.to_bytes())
    raw[112:120] = struct.pack("<ff", 2, 5)  # scl_slope, scl_inter
    assert (decode(bytes(raw), "T1").voxels == 7).all()


@pytest.mark.parametrize(
    "fields",
    [{"vox_offset": 0}, {"scl_slope": 1, "scl_inter": np.nan}, {"xyzt_units": 0}, {"xyzt_units": 1}],
    ids=["offset not stated", "intercept NaN", "no units", "wrong units"],
)
def test_headers_are_read_as_other_programs_read_them(fields):
    voxels = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    found = decode(make_nifti(voxels, AFFINE, **fields), "T1")
    assert np.array_equal(found.voxels, voxels)
    assert np.array_equal(found.affine, AFFINE)


@pytest.mark.parametrize(("unit", "per_mm"), [("meter", 0.001), ("mm", 1), ("micron", 1000)])
def test_units_are_converted_to_millimetres(unit, per_mm):
    image = nib.Nifti1Image(np.ones((2, 3, 4), np.int16), np.diag([per_mm, per_mm, per_mm, 1]) @ AFFINE)
    image.header.set_xyzt_units(unit)
    assert np.allclose(decode(image.to_bytes(), "T1").affine, AFFINE)


def test_a_header_may_have_large_extensions():
    image = nib.Nifti1Image(np.ones((2, 3, 4), np.int16), AFFINE)
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", bytes(2_500_000)))
    for data in (image.to_bytes(), gzip.compress(image.to_bytes(), 0)):
        assert (decode(data, "T1").voxels == 1).all()


def test_a_trailing_axis_of_length_one_is_dropped():
    assert decode(make_nifti(np.ones((2, 3, 4, 1), np.int16)), "T1").voxels.shape == (2, 3, 4)


def test_a_grid_has_spacing_orientation_and_voxel_volume():
    grid = Volume(np.zeros((2, 3, 4)), AFFINE).grid
    assert grid.spacing_mm == (1, 2, 3)
    assert grid.orientation == "PLS"
    assert grid.voxel_ml == pytest.approx(0.006)


@pytest.mark.parametrize(
    ("moved_mm", "turned", "is_same"), [(0.09, 0, True), (0.11, 0, False), (0, 2e-4, True), (0, 5e-4, False)]
)
def test_grids_coincide_if_their_corners_do(moved_mm, turned, is_same):
    affine = np.diag([-1.0, -1, 1, 1])
    other = affine.copy()
    other[0, 3] += moved_mm
    other[2, 1] += turned  # moves the far corners by 239 times as much
    assert Grid((240, 240, 155), affine).coincides(Grid((240, 240, 155), other)) == is_same


def test_a_wrong_checksum_is_rejected():
    whole = gzip.compress(make_nifti(np.random.default_rng(0).integers(0, 9999, size=(20, 20, 20), dtype=np.int16)), 0)
    flipped = bytearray(whole)
    flipped[5000] ^= 1
    for data in (bytes(flipped), whole[:-8]):
        with pytest.raises(MalformedImageError):
            decode(data, "T1")


@pytest.mark.parametrize("name", IMAGES)
def test_a_malicious_image_has_its_own_problem(client, name):
    upload = IMAGES[name]
    assert upload.phrase in read_problem(post_case(client, upload.make_body()), upload.status, upload.kind)


@pytest.mark.parametrize("dtype", ["<i2", ">i2", "<u4", ">f4", "<i8", ">f8"])
def test_voxels_of_every_type_and_byte_order_are_decoded(dtype):
    voxels = np.arange(24).reshape(2, 3, 4)
    header = nib.Nifti1Header(endianness=dtype[0])
    header.set_data_dtype(dtype)
    data = nib.Nifti1Image(voxels.astype(dtype), AFFINE, header).to_bytes()
    decoded = decode(data, "T1").voxels
    assert np.array_equal(decoded, voxels)
    assert decoded.dtype.isnative
    assert decoded.itemsize <= 4


@pytest.mark.parametrize("affine", [NEARLY_SINGULAR, np.diag([0, 1, 1, 1.0]), np.diag([np.inf, 1, 1, 1])])
def test_a_singular_or_infinite_affine_is_rejected(affine):
    header = nib.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape((2, 3, 4))
    header.set_sform(affine, 1)
    header["magic"], header["vox_offset"] = b"n+1", 352
    with pytest.raises(GeometryError, match="finite and invertible"):
        decode(header.binaryblock + bytes(100), "T1")


def test_header_extensions_are_ignored():
    image = nib.Nifti1Image(np.ones((2, 3, 4), np.int16), AFFINE)
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"DOE^JANE" * 1000))
    assert np.array_equal(decode(image.to_bytes(), "T1").voxels, np.ones((2, 3, 4)))
