"""Malicious zips, each with the problem that the service must answer."""

import stat
import struct
from collections.abc import Callable, Mapping
from io import BytesIO
from zipfile import ZIP_BZIP2, ZIP_LZMA, ZipFile, ZipInfo

from support.case_files import make_case_files, make_nifti, make_zip
from support.malicious_uploads import MaliciousUpload

CENTRAL_SIGNATURE, END_SIGNATURE = b"PK\1\2", b"PK\5\6"
FALSE_SIZE = 4 * 2**30 - 2


def with_entry(entry: ZipInfo, data: bytes = b"") -> bytes:
    """A valid case with an additional entry."""
    body = BytesIO(make_zip(make_case_files()))
    with ZipFile(body, "a") as archive:
        archive.writestr(entry, data)
    return body.getvalue()


def make_link(name: str) -> ZipInfo:
    """An entry that is a symbolic link."""
    entry = ZipInfo(name)
    entry.create_system, entry.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return entry


def compressed_by(name: str, method: int) -> ZipInfo:
    """An entry that is compressed by some method."""
    entry = ZipInfo(name)
    entry.compress_type = method
    return entry


def with_image(entry: ZipInfo, data: bytes = b"") -> bytes:
    """A case whose T2 is this entry."""
    body = BytesIO()
    with ZipFile(body, "w") as archive:
        for name, content in make_case_files().items():
            if name != "t2.nii":
                archive.writestr(name, content)
        archive.writestr(entry, data or make_nifti())
    return body.getvalue()


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


def make_zip_bomb() -> bytes:
    """Four images of zeros that unpack to 1 GiB."""
    return make_zip(dict.fromkeys(make_case_files(), bytes(256 * 2**20)))


def with_directory_field(offset: int, form: str, value: int) -> Callable[[], bytes]:
    """A function that makes a case with a field of the first entry of the central directory changed."""
    return lambda: patch_central_directory(make_zip(make_case_files()), offset, form, value)


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
        lambda: with_image(ZipInfo("a/../../t2.nii")), 400, "unsafe-archive", "leads out"
    ),
    "path traversal by backslashes": MaliciousUpload(
        lambda: with_image(ZipInfo("a\\..\\..\\t2.nii")), 400, "unsafe-archive", "leads out"
    ),
    "drive letter": MaliciousUpload(lambda: with_image(ZipInfo("C:\\t2.nii")), 400, "unsafe-archive", "leads out"),
    "symbolic link": MaliciousUpload(
        lambda: with_image(make_link("t2.nii"), b"/etc/passwd"), 400, "unsafe-archive", "link"
    ),
    "nested zip": MaliciousUpload(
        lambda: with_image(ZipInfo("t2.nii"), make_zip(make_case_files())), 400, "malformed-image", "another format"
    ),
    "duplicate names": MaliciousUpload(make_duplicate_names, 400, "unsafe-archive", "unique entry names"),
    "overlapping entries": MaliciousUpload(make_overlapping_entries, 400, "unsafe-archive", "overlap"),
    "many entries": MaliciousUpload(
        lambda: make_zip({str(number): b"" for number in range(10_001)}), 413, "too-large", "10000 entries, found 10001"
    ),
    "huge central directory": MaliciousUpload(make_huge_central_directory, 413, "too-large", "10000 entries"),
    "long name": MaliciousUpload(
        lambda: with_image(ZipInfo(f"{'x' * 494}/t2.nii")), 413, "too-large", "500 characters, found 501"
    ),
    "false size": MaliciousUpload(with_directory_field(24, "<I", FALSE_SIZE), 413, "too-large", "images of at most"),
    "false zip64 size": MaliciousUpload(make_false_zip64_size, 413, "too-large", "images of at most"),
    "zip bomb": MaliciousUpload(make_zip_bomb, 413, "too-large", "MiB unpacked, found 256"),
}
