"""Malicious images, each with the problem that the service must answer."""

import gzip
from collections.abc import Callable, Mapping

import nibabel as nib
import numpy as np

from service.imaging.phantom import zip_files
from support.case_files import make_case_files, make_nifti, make_zip
from support.malicious_uploads import MaliciousUpload


def make_big_endian_nifti(**fields: object) -> bytes:
    """A small NIfTI file with a big-endian header."""
    data = make_nifti(vox_offset=352)
    header = nib.Nifti1Header(data[:348]).as_byteswapped(">")
    for name, value in fields.items():
        header[name] = value
    return header.binaryblock + data[348:]


def make_gzip_bomb(mib: int) -> bytes:
    """A gzip file that inflates to this many MiB of zeros."""
    return gzip.compress(bytes(mib * 2**20), 9)


def append_empty_members(content: bytes) -> bytes:
    """A gzip file with 300,000 empty members after its content."""
    return gzip.compress(content) + gzip.compress(b"") * 300_000


def with_t2(data: bytes) -> Callable[[], bytes]:
    """A function that makes a case with this T2 file."""
    return lambda: zip_files(make_case_files(t2=data))


def with_header(**fields: object) -> Callable[[], bytes]:
    """A function that makes a case with these header fields in the T2 file."""
    return with_t2(make_nifti(**fields))


IMAGES: Mapping[str, MaliciousUpload] = {
    "empty": MaliciousUpload(with_t2(b""), 400, "malformed-image", "T2"),
    "text": MaliciousUpload(with_t2(b"no image" * 100), 400, "malformed-image", "T2"),
    "damaged gzip": MaliciousUpload(with_t2(b"\x1f\x8b" + bytes(400)), 400, "malformed-image", "T2"),
    "truncated": MaliciousUpload(with_t2(make_nifti()[:-1]), 400, "malformed-image", "T2"),
    "truncated gzip": MaliciousUpload(with_t2(gzip.compress(make_nifti())[:-1]), 400, "malformed-image", "T2"),
    "wrong checksum": MaliciousUpload(
        with_t2(gzip.compress(make_nifti())[:-8] + bytes(8)), 400, "malformed-image", "T2"
    ),
    "gzip bomb": MaliciousUpload(
        lambda: zip_files(make_case_files(t2=make_gzip_bomb(1000))), 400, "malformed-image", "T2"
    ),
    "gzip bomb after an image": MaliciousUpload(
        lambda: zip_files(make_case_files(t2=gzip.compress(make_nifti()) + make_gzip_bomb(1000))),
        400,
        "malformed-image",
        "T2",
    ),
    "empty gzip members": MaliciousUpload(
        lambda: make_zip(make_case_files(t2=append_empty_members(b""))), 400, "malformed-image", "T2"
    ),
    "empty gzip members after an image": MaliciousUpload(
        lambda: make_zip(make_case_files(t2=append_empty_members(make_nifti()))), 400, "malformed-image", "T2"
    ),
    "header of a .hdr and .img pair": MaliciousUpload(
        with_header(magic=b"ni1"), 400, "malformed-image", ".hdr and .img pair"
    ),
    "empty shape": MaliciousUpload(
        with_header(dim=[3, 8, 0, 10, 1, 1, 1, 1]), 400, "malformed-image", "three-dimensional"
    ),
    "negative shape": MaliciousUpload(
        with_header(dim=[3, 8, -9, 10, 1, 1, 1, 1]), 400, "malformed-image", "three-dimensional"
    ),
    "32767 dimensions": MaliciousUpload(
        with_t2(make_big_endian_nifti(dim=[32767, 8, 9, 10, 1, 1, 1, 1])), 400, "malformed-image", "32767 dimensions"
    ),
    "four dimensions": MaliciousUpload(
        with_t2(make_nifti(np.ones((2, 3, 4, 5), np.int16))), 400, "malformed-image", "three-dimensional"
    ),
    "two dimensions": MaliciousUpload(
        with_t2(make_nifti(np.ones((2, 3), np.int16))), 400, "malformed-image", "three-dimensional"
    ),
    "too many voxels": MaliciousUpload(
        with_header(dim=[3, 30000, 30000, 30000, 1, 1, 1, 1]), 413, "too-large", "30000 x 30000 x 30000"
    ),
    "complex": MaliciousUpload(
        with_t2(make_nifti(np.ones((2, 3, 4), np.complex64))), 400, "malformed-image", "complex64"
    ),
    "RGB": MaliciousUpload(with_header(datatype=128, bitpix=24), 400, "malformed-image", "integer or floating-point"),
    "128 bits": MaliciousUpload(with_header(datatype=1536, bitpix=128), 400, "malformed-image", "T2"),
    "unknown type": MaliciousUpload(with_header(datatype=7777), 400, "malformed-image", "T2"),
    "voxels in the header": MaliciousUpload(with_header(vox_offset=100), 400, "malformed-image", "T2"),
    "voxels at byte 1e12": MaliciousUpload(
        with_header(vox_offset=1e12), 400, "malformed-image", "voxels from byte 352"
    ),
    "voxels at byte NaN": MaliciousUpload(with_header(vox_offset=np.nan), 400, "malformed-image", "T2"),
    "affine of NaN": MaliciousUpload(
        with_header(srow_x=[np.nan] * 4), 422, "geometry", "T2: expected an affine that is finite"
    ),
    "affine of zeros": MaliciousUpload(
        with_header(srow_x=[0] * 4), 422, "geometry", "T2: expected an affine that is finite"
    ),
    "spacing in kilometres": MaliciousUpload(
        with_t2(make_nifti(affine=np.diag([1e6] * 3 + [1]))), 422, "geometry", "1e+06 mm"
    ),
    "spacing in nanometres": MaliciousUpload(
        with_t2(make_nifti(affine=np.diag([1e-6] * 3 + [1]))), 422, "geometry", "1e-06 mm"
    ),
    "invalid quaternion": MaliciousUpload(
        with_header(sform_code=0, qform_code=1, quatern_b=9, quatern_c=9), 400, "malformed-image", "T2"
    ),
    "ground truth on another grid": MaliciousUpload(
        lambda: zip_files({**make_case_files(), "seg.nii": make_nifti(np.ones((8, 9, 11), np.uint8))}),
        422,
        "geometry",
        "(8, 9, 11)",
    ),
    "field of view of 3 m": MaliciousUpload(
        with_t2(make_nifti(np.ones((150, 9, 10), np.int16), affine=np.diag([20, 1, 1, 1]))), 422, "geometry", "512 mm"
    ),
    "infinite slope": MaliciousUpload(with_header(scl_slope=1, scl_inter=np.inf), 400, "malformed-image", "T2"),
    "slope beyond float32": MaliciousUpload(
        with_header(scl_slope=3e38, scl_inter=1), 422, "intensities", "T2: expected finite"
    ),
    "slope that underflows": MaliciousUpload(with_header(scl_slope=1e-45), 422, "intensities", "T2: expected varying"),
    "NaN voxels": MaliciousUpload(
        with_t2(make_nifti(np.full((8, 9, 10), np.nan, np.float32))), 422, "intensities", "T2: expected finite"
    ),
    "infinite voxels": MaliciousUpload(
        with_t2(make_nifti(np.full((8, 9, 10), np.inf, np.float32))), 422, "intensities", "T2: expected finite"
    ),
    "float64 beyond float32": MaliciousUpload(
        with_t2(make_nifti(np.full((8, 9, 10), 1e300))), 422, "intensities", "T2: expected finite"
    ),
    "squares beyond float32": MaliciousUpload(
        with_t2(make_nifti(np.linspace(1, 1e30, 720, dtype=np.float32).reshape(8, 9, 10))),
        422,
        "intensities",
        "T2: expected intensities whose squares",
    ),
    "zeros in one modality": MaliciousUpload(
        with_t2(make_nifti(np.zeros((8, 9, 10), np.int16))), 422, "intensities", "T2: expected varying"
    ),
    "constant modality": MaliciousUpload(
        with_t2(make_nifti(np.ones((8, 9, 10), np.int16))), 422, "intensities", "T2: expected varying"
    ),
    "zeros in every modality": MaliciousUpload(
        lambda: zip_files(dict.fromkeys(make_case_files(), make_nifti(np.zeros((8, 9, 10), np.int16)))),
        422,
        "intensities",
        "a brain",
    ),
}
