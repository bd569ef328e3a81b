import gzip
import struct

import nibabel as nib
import numpy as np
import pytest

from service.segmentation.errors import MalformedImageError, OversizedImageError
from service.segmentation.volume import Volume, decode_nifti, encode_nifti

AFFINE = np.array([[0, -2, 0, 10.5], [-1, 0, 0, 20], [0, 0, 3, -7], [0, 0, 0, 1.0]])


def nifti(voxels, affine=AFFINE):
    return nib.Nifti1Image(voxels, affine).to_bytes()


def test_a_volume_survives_encoding():
    volume = Volume(np.arange(24, dtype=np.uint8).reshape(2, 3, 4), AFFINE)
    decoded = decode_nifti(encode_nifti(volume), "T1")
    assert np.array_equal(decoded.voxels, volume.voxels)
    assert np.array_equal(decoded.affine, AFFINE)


def test_equal_volumes_give_equal_bytes():
    volume = Volume(np.ones((2, 3, 4), dtype=np.uint8), AFFINE)
    assert encode_nifti(volume) == encode_nifti(volume)


def test_compression_is_told_from_the_content_not_the_name():
    plain = nifti(np.ones((2, 3, 4), np.int16))
    assert np.array_equal(decode_nifti(plain, "T1").voxels, decode_nifti(gzip.compress(plain), "T1").voxels)


def test_scaled_integers_are_scaled():
    image = nib.Nifti1Image(np.ones((2, 3, 4), np.int16), AFFINE)
    image.header.set_slope_inter(2, 5)
    raw = bytearray(image.to_bytes())
    raw[112:120] = struct.pack("<ff", 2, 5)  # scl_slope, scl_inter
    assert (decode_nifti(bytes(raw), "T1").voxels == 7).all()


def test_a_trailing_axis_of_one_is_dropped():
    assert decode_nifti(nifti(np.ones((2, 3, 4, 1), np.int16)), "T1").voxels.shape == (2, 3, 4)


def test_a_grid_knows_spacing_orientation_and_voxel_volume():
    grid = Volume(np.zeros((2, 3, 4)), AFFINE).grid
    assert grid.spacing_mm == (1, 2, 3)
    assert grid.orientation == "PLS"
    assert grid.voxel_ml == pytest.approx(0.006)


def test_damage_that_only_the_checksum_shows_is_refused():
    whole = gzip.compress(nifti(np.random.default_rng(0).integers(0, 9999, size=(20, 20, 20), dtype=np.int16)), 0)
    flipped = bytearray(whole)
    flipped[5000] ^= 1
    for data in (bytes(flipped), whole[:-8]):
        with pytest.raises(MalformedImageError):
            decode_nifti(data, "T1")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not an image",
        b"\x1f\x8b broken gzip",
        nifti(np.ones((2, 3, 4), np.int16))[:380],
        gzip.compress(nifti(np.ones((9, 9, 9), np.int16)))[:-20],
        nifti(np.ones((2, 3, 4, 5), np.int16)),
        nifti(np.ones((2, 3), np.int16)),
        nifti(np.ones((2, 3, 4), np.complex64)),
        nifti(np.zeros((2, 3, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])),
        b"\x5c\x01\x00\x00" + b"\xff" * 600,
        nifti(np.ones((2, 3, 4), np.int16))[:344] + b"ni1\0",
    ],
    ids=[
        "empty",
        "text",
        "gzip",
        "truncated",
        "truncated-gzip",
        "4d",
        "2d",
        "complex",
        "rgb",
        "junk-header",
        "pair-header",
    ],
)
def test_what_is_no_whole_volume_is_refused_by_modality(data):
    with pytest.raises(MalformedImageError, match=r"^T1Gd: expected"):
        decode_nifti(data, "T1Gd")


def test_a_header_that_claims_too_many_voxels_is_refused_before_they_are_read():
    header = nib.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape((30000, 30000, 30000))
    header["magic"], header["vox_offset"] = b"n+1", 352
    with pytest.raises(OversizedImageError, match="30000 x 30000 x 30000"):
        decode_nifti(header.binaryblock + bytes(4), "T2")
