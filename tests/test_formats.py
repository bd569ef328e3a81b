"""Image formats, compared with what SimpleITK and nibabel wrote; and what hostile headers may not do."""

import gzip

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from scipy.spatial.transform import Rotation
from support.text_formats import METAIMAGE_HEADER, NRRD_HEADER, SHAPE
from support.text_formats import VOXELS as BIG_ENDIAN

from service.imaging.case import Modality, check_one_grid
from service.imaging.errors import GeometryError, MalformedImageError, OversizedImageError
from service.imaging.formats import decode
from service.imaging.names import assign_roles, is_image_name, suffix_of
from service.imaging.nifti import encode_nifti
from service.imaging.reading import read_case
from service.imaging.volume import Volume

VOXELS = np.random.default_rng(0).integers(-999, 999, (7, 8, 9)).astype(np.int16)
AFFINE = np.eye(4)
AFFINE[:3, :3] = Rotation.from_euler("xyz", [20, -10, 35], degrees=True).as_matrix() @ np.diag([0.9, 1.1, 5])
AFFINE[:3, 3] = -12.5, 33, 7
FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])  # between RAS and LPS


def write_with_itk(path, voxels=VOXELS, *, compress=False) -> bytes:
    """The bytes of a file that SimpleITK writes."""
    image = SimpleITK.GetImageFromArray(voxels.T)
    lps = FLIP @ AFFINE
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    SimpleITK.WriteImage(image, path, compress)
    return path.read_bytes()


def check(data: bytes, voxels=VOXELS):
    volume = decode(data, "T1")
    assert np.array_equal(volume.voxels, voxels)
    assert np.allclose(volume.affine, AFFINE, atol=1e-5)


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("extension", ["mha", "nrrd"])
@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "f4", "f8"])
def test_what_itk_writes_is_read(extension, dtype, compress, tmp_path):
    voxels = VOXELS.clip(0).astype(dtype)
    check(write_with_itk(tmp_path / f"image.{extension}", voxels, compress=compress), voxels)


def test_a_compressed_image_of_many_chunks_is_read(tmp_path):
    voxels = np.random.default_rng(0).integers(0, 4000, (90, 80, 70)).astype(np.int16)
    for extension in ("mha", "nrrd"):
        check(write_with_itk(tmp_path / f"image.{extension}", voxels, compress=True), voxels)


@pytest.mark.parametrize("make", [nib.Nifti1Image, nib.Nifti2Image, nib.MGHImage])
@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_what_nibabel_writes_is_read(make, compress):
    check(compress(make(VOXELS, AFFINE.astype(np.float32)).to_bytes()))


@pytest.mark.parametrize("make", [nib.Nifti1Pair, nib.Nifti2Pair])
@pytest.mark.parametrize("end", ["", ".gz"])
def test_a_header_and_its_voxels_may_be_two_files(make, end, tmp_path):
    image = make(VOXELS, AFFINE)
    image.to_filename(tmp_path / f"x_t1.img{end}")
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert sorted(files) == [f"x_t1.hdr{end}", f"x_t1.img{end}"]
    volume = read_case(files).images["T1"]
    assert np.array_equal(volume.voxels, VOXELS)
    assert np.allclose(volume.affine, AFFINE, atol=1e-5)


@pytest.mark.parametrize("name", ["x_t1.hdr", "x_t1.img"])
def test_half_a_pair_is_an_error(name, tmp_path):
    nib.Nifti1Pair(VOXELS, AFFINE).to_filename(tmp_path / "x_t1.img")
    with pytest.raises(MalformedImageError, match=r"^T1: expected"):
        read_case({name: (tmp_path / name).read_bytes()})


def test_analyze_is_not_nifti(tmp_path):
    nib.AnalyzeImage(VOXELS, np.eye(4)).to_filename(tmp_path / "x_t1.img")
    with pytest.raises(MalformedImageError, match="found damage or another format"):
        read_case({path.name: path.read_bytes() for path in tmp_path.iterdir()})


@pytest.mark.parametrize("header", [METAIMAGE_HEADER, NRRD_HEADER])
def test_big_endian_voxels_are_read(header):
    voxels = decode(header.encode() + BIG_ENDIAN, "T1").voxels
    assert np.array_equal(voxels, np.arange(24).reshape(SHAPE, order="F"))


@pytest.mark.parametrize(
    ("header", "old", "new", "error"),
    [
        (METAIMAGE_HEADER, "LOCAL", "/etc/hostname", MalformedImageError),
        (METAIMAGE_HEADER, "LOCAL", "LIST", MalformedImageError),
        (METAIMAGE_HEADER, "BinaryData = True", "BinaryData = False", MalformedImageError),
        (METAIMAGE_HEADER, "NDims = 3", "HeaderSize = 5", MalformedImageError),
        (METAIMAGE_HEADER, "MET_SHORT", "MET_STRING", MalformedImageError),
        (METAIMAGE_HEADER, "DimSize = 2 3 4", "DimSize = 2 3", MalformedImageError),
        (METAIMAGE_HEADER, "DimSize = 2 3 4", "DimSize = 2 3 nan", MalformedImageError),
        (METAIMAGE_HEADER, "DimSize = 2 3 4", "DimSize = 9999 9999 9999", OversizedImageError),
        (METAIMAGE_HEADER, "ElementSpacing = 1 1 1", "ElementSpacing = 1 1 nan", GeometryError),
        (METAIMAGE_HEADER, "ElementSpacing = 1 1 1", "", MalformedImageError),
        (METAIMAGE_HEADER, "CompressedData = False", "CompressedData = True", MalformedImageError),
        (NRRD_HEADER, "encoding: raw", "encoding: raw\ndata file: /etc/hostname", MalformedImageError),
        (NRRD_HEADER, "encoding: raw", "encoding: raw\nDATA FILE: /etc/hostname", MalformedImageError),
        (NRRD_HEADER, "encoding: raw", "encoding: raw\nbyte skip: -1", MalformedImageError),
        (NRRD_HEADER, "encoding: raw", "encoding: bzip2", MalformedImageError),
        (NRRD_HEADER, "space: right-anterior-superior", "space: scanner-xyz", MalformedImageError),
        (NRRD_HEADER, "(0,0,1)", "none", MalformedImageError),
        (NRRD_HEADER, "(0,0,1)", "(0,1,0)", GeometryError),
        (NRRD_HEADER, "sizes: 2 3 4", "sizes: 2 3 5", MalformedImageError),
    ],
)
def test_unsupported_and_hostile_headers_are_errors(header, old, new, error):
    assert old in header
    with pytest.raises(error, match=r"^T1: expected"):
        decode(header.replace(old, new).encode() + BIG_ENDIAN, "T1")


@pytest.mark.parametrize("start", [b"NRRD0004\n", b"ObjectType = Image\n"])
def test_a_header_without_an_end_is_an_error(start):
    with pytest.raises(MalformedImageError):
        decode(start + b"x" * 2**21, "T1")
    with pytest.raises(MalformedImageError):
        decode(start + b"x\n" * 2**20, "T1")


def test_a_bomb_in_a_compressed_body_is_an_error():
    header = NRRD_HEADER.replace("encoding: raw", "encoding: gzip").encode()
    assert decode(header + gzip.compress(BIG_ENDIAN), "T1").voxels[1, 0, 0] == 1
    with pytest.raises(MalformedImageError):
        decode(header + gzip.compress(BIG_ENDIAN + bytes(2**22)), "T1")


def test_names_of_all_formats_are_recognised():
    names = ["a_t1.nii", "b_t1.nii.gz", "c_t1.nrrd", "d_t1.mha", "e_t1.mgz", "f_t1.mgh", "g_t1.hdr", "h_t1.img.gz"]
    assert all(map(is_image_name, names))
    assert {suffix_of(name) for name in names} == {"t1"}
    assert not is_image_name("t1.dcm")
    assert assign_roles(["x/t1.HDR", "x/t1.IMG"]) == {"T1": ("x/t1.HDR", "x/t1.IMG")}


def test_formats_may_be_mixed(tmp_path):
    files = {f"{name}.nii": encode_nifti(Volume(VOXELS, AFFINE)) for name in ("t1", "t1gd", "flair")}
    case = read_case(files | {"t2.mha": write_with_itk(tmp_path / "t2.mha")})
    check_one_grid(case)
    assert list(case.images) == list(Modality)
