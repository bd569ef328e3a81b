"""Malicious uploads, each with the problem that the service must answer."""

import gzip
import stat
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from zipfile import ZIP_BZIP2, ZIP_LZMA, ZipFile, ZipInfo

import nibabel as nib
import numpy as np

from service.imaging.phantom import zip_files
from support.case_files import make_case_files, make_nifti, make_zip

CENTRAL_SIGNATURE, END_SIGNATURE = b"PK\1\2", b"PK\5\6"
FALSE_SIZE = 4 * 2**30 - 2


@dataclass(frozen=True)
class MaliciousUpload:
    """A zip and the expected problem."""

    make_body: Callable[[], bytes]
    status: int
    kind: str
    phrase: str  # part of the problem's detail


def make_big_endian_nifti(**fields: object) -> bytes:
    """A small NIfTI file with a big-endian header."""
    data = make_nifti(vox_offset=352)
    header = nib.Nifti1Header(data[:348]).as_byteswapped(">")
    for name, value in fields.items():
        header[name] = value
    return header.binaryblock + data[348:]


def with_entry(entry: ZipInfo, data: bytes = b"") -> bytes:
    """A valid case with an additional entry."""
    body = BytesIO(make_zip(make_case_files()))
    with ZipFile(body, "a") as archive:
        archive.writestr(entry, data)
    return body.getvalue()


def with_symbolic_link() -> bytes:
    """A valid case with a symbolic link."""
    entry = ZipInfo("link")
    entry.create_system, entry.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return with_entry(entry, b"/etc/passwd")


def patch_central_directory(body: bytes, offset: int, form: str, value: int, entry: int = 0) -> bytes:
    """A zip with one field of one entry of its central directory changed."""
    place = -1
    for _ in range(entry + 1):
        place = body.index(CENTRAL_SIGNATURE, place + 1)
    changed = bytearray(body)
    struct.pack_into(form, changed, place + offset, value)
    return bytes(changed)


def make_overlapping_entries() -> bytes:
    """Two entries that share their bytes, as in a zip of 42 kB that unpacks to gigabytes."""
    body = make_zip(make_case_files())
    return patch_central_directory(body, 42, "<I", 0, entry=1)


def make_duplicate_names() -> bytes:
    """Two entries of the same name: the checker and the reader could choose different ones."""
    body = make_zip(make_case_files() | {"t2.nix": make_nifti()})
    return body.replace(b"t2.nix", b"t2.nii")


def make_false_zip64_size() -> bytes:
    """An entry with a 64-bit size of 4 EiB."""
    body = BytesIO()
    with ZipFile(body, "w") as archive:
        for name, data in make_case_files().items():
            with archive.open(name, "w", force_zip64=True) as entry:
                entry.write(data)
    changed = bytearray(body.getvalue())
    place = changed.index(CENTRAL_SIGNATURE)
    name_length = struct.unpack_from("<H", changed, place + 28)[0]
    extra = struct.pack("<HHQ", 1, 8, 2**62)
    struct.pack_into("<I", changed, place + 24, 0xFFFFFFFF)
    struct.pack_into("<H", changed, place + 30, len(extra))
    end = place + 46 + name_length
    changed[end:end] = extra
    size_at = changed.rindex(END_SIGNATURE) + 12
    struct.pack_into("<I", changed, size_at, struct.unpack_from("<I", changed, size_at)[0] + len(extra))
    return bytes(changed)


def make_huge_central_directory() -> bytes:
    """A central directory of 12 MiB that claims 500 entries."""
    body = make_zip({f"{number:060d}": b"" for number in range(500)})
    listed = body[body.index(CENTRAL_SIGNATURE) : body.rindex(END_SIGNATURE)]
    times = 12 * 2**20 // len(listed)
    end = bytearray(body[body.rindex(END_SIGNATURE) :])
    struct.pack_into("<I", end, 12, len(listed) * times)
    return body[: body.index(CENTRAL_SIGNATURE)] + listed * times + bytes(end)


def make_gzip_bomb(mib: int) -> bytes:
    """A gzip file that inflates to this many MiB of zeros."""
    return gzip.compress(bytes(mib * 2**20), 9)


def append_empty_members(content: bytes) -> bytes:
    """A gzip file with 300,000 empty members after its content."""
    return gzip.compress(content) + gzip.compress(b"") * 300_000


def make_zip_bomb() -> bytes:
    """Four images of zeros that unpack to 1 GiB."""
    return make_zip(dict.fromkeys(make_case_files(), bytes(256 * 2**20)))


def with_directory_field(offset: int, form: str, value: int) -> Callable[[], bytes]:
    """A function that makes a case with a field of the first entry of the central directory changed."""
    return lambda: patch_central_directory(make_zip(make_case_files()), offset, form, value)


def with_t2(data: bytes) -> Callable[[], bytes]:
    """A function that makes a case with this T2 file."""
    return lambda: zip_files(make_case_files(t2=data))


def with_header(**fields: object) -> Callable[[], bytes]:
    """A function that makes a case with these header fields in the T2 file."""
    return with_t2(make_nifti(**fields))


ARCHIVES: Mapping[str, MaliciousUpload] = {
    "not a zip": MaliciousUpload(lambda: b"PK\3\4 and nothing of the kind", 400, "broken-archive", "whole zip"),
    "truncated": MaliciousUpload(lambda: make_zip(make_case_files())[:-30], 400, "broken-archive", "whole zip"),
    "wrong CRC": MaliciousUpload(with_directory_field(16, "<I", 1), 400, "broken-archive", "damage"),
    "size too small": MaliciousUpload(with_directory_field(24, "<I", 400), 400, "broken-archive", "damage"),
    "size too large": MaliciousUpload(with_directory_field(24, "<I", 9999), 400, "broken-archive", "damage"),
    "encrypted": MaliciousUpload(with_directory_field(8, "<H", 1), 400, "broken-archive", "password"),
    "bzip2": MaliciousUpload(
        lambda: make_zip(make_case_files(), ZIP_BZIP2), 400, "broken-archive", "stored or deflated"
    ),
    "lzma": MaliciousUpload(lambda: make_zip(make_case_files(), ZIP_LZMA), 400, "broken-archive", "stored or deflated"),
    "version too new": MaliciousUpload(with_directory_field(6, "<H", 64), 400, "broken-archive", "whole zip"),
    "patched data flag": MaliciousUpload(with_directory_field(8, "<H", 0x20), 400, "broken-archive", "whole zip"),
    "path traversal": MaliciousUpload(
        lambda: with_entry(ZipInfo("a/../../t1.nii")), 400, "unsafe-archive", "leads out"
    ),
    "path traversal by backslashes": MaliciousUpload(
        lambda: with_entry(ZipInfo("a\\..\\..\\t1")), 400, "unsafe-archive", "leads out"
    ),
    "absolute path": MaliciousUpload(lambda: with_entry(ZipInfo("/etc/passwd")), 400, "unsafe-archive", "leads out"),
    "drive letter": MaliciousUpload(lambda: with_entry(ZipInfo("C:x")), 400, "unsafe-archive", "leads out"),
    "symbolic link": MaliciousUpload(with_symbolic_link, 400, "unsafe-archive", "link"),
    "nested zip": MaliciousUpload(
        lambda: with_entry(ZipInfo("a/more.ZIP")), 400, "unsafe-archive", "within the archive"
    ),
    "nested gzip": MaliciousUpload(
        lambda: with_entry(ZipInfo("more.tar.gz")), 400, "unsafe-archive", "within the archive"
    ),
    "duplicate names": MaliciousUpload(make_duplicate_names, 400, "unsafe-archive", "unique entry names"),
    "overlapping entries": MaliciousUpload(make_overlapping_entries, 400, "unsafe-archive", "overlap"),
    "many entries": MaliciousUpload(
        lambda: make_zip({str(number): b"" for number in range(1001)}), 413, "too-large", "1000 entries, found 1001"
    ),
    "huge central directory": MaliciousUpload(make_huge_central_directory, 413, "too-large", "1000 entries"),
    "long name": MaliciousUpload(lambda: with_entry(ZipInfo("x" * 501)), 413, "too-large", "500 characters, found 501"),
    "false size": MaliciousUpload(with_directory_field(24, "<I", FALSE_SIZE), 413, "too-large", "images of at most"),
    "false zip64 size": MaliciousUpload(make_false_zip64_size, 413, "too-large", "images of at most"),
    "zip bomb": MaliciousUpload(make_zip_bomb, 413, "too-large", "MiB unpacked, found 1024"),
}

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
    "NIfTI-2": MaliciousUpload(
        with_t2(nib.Nifti2Image(np.ones((2, 3, 4), np.int16), np.eye(4)).to_bytes()),
        400,
        "malformed-image",
        "NIfTI-1",
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
    "voxels at byte 0": MaliciousUpload(with_header(vox_offset=0), 400, "malformed-image", "voxels from byte 352"),
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
    "different grid": MaliciousUpload(
        with_t2(make_nifti(np.ones((8, 9, 11), np.int16))), 422, "geometry", "(8, 9, 11)"
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
