"""Uploads that are made to do harm, each with the problem that is its answer."""

import gzip
import stat
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZIP_LZMA, ZipFile, ZipInfo

import nibabel as nib
import numpy as np

from service.phantom import zip_files

CENTRAL_SIGNATURE, END_SIGNATURE = b"PK\1\2", b"PK\5\6"
LYING_SIZE = 4 * 2**30 - 2


@dataclass(frozen=True)
class Hostile:
    """A zip, and how it is answered."""

    body: Callable[[], bytes]
    status: int
    kind: str
    words: str  # of the answer's detail


def image(voxels: np.ndarray | None = None, affine: np.ndarray | None = None, **fields: object) -> bytes:
    """A small NIfTI file; some fields of its header as given."""
    voxels = np.arange(8 * 9 * 10, dtype=np.int16).reshape(8, 9, 10) if voxels is None else voxels
    data = nib.Nifti1Image(voxels, np.eye(4) if affine is None else affine).to_bytes()
    header = nib.Nifti1Header(data[:348], check=False)
    for name, value in fields.items():
        header[name] = value
    return header.binaryblock + data[348:]


def big_endian(**fields: object) -> bytes:
    """The same, its header in the other order of bytes."""
    data = image(vox_offset=352)
    header = nib.Nifti1Header(data[:348]).as_byteswapped(">")
    for name, value in fields.items():
        header[name] = value
    return header.binaryblock + data[348:]


def files(**replaced: bytes) -> dict[str, bytes]:
    """The four modalities, some as given."""
    return {f"{word}.nii": replaced.get(word, image()) for word in ("t1", "t1ce", "t2", "flair")}


def zip_of(entries: Mapping[str, bytes], compression: int = ZIP_DEFLATED) -> bytes:
    """Files as a compressed zip."""
    body = BytesIO()
    with ZipFile(body, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return body.getvalue()


def with_entry(entry: ZipInfo, data: bytes = b"") -> bytes:
    """A good case, and an entry."""
    body = BytesIO(zip_of(files()))
    with ZipFile(body, "a") as archive:
        archive.writestr(entry, data)
    return body.getvalue()


def link() -> bytes:
    """A case with a symbolic link."""
    entry = ZipInfo("link")
    entry.create_system, entry.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return with_entry(entry, b"/etc/passwd")


def patched(body: bytes, offset: int, form: str, value: int, entry: int = 0) -> bytes:
    """A zip with a field of an entry in its list of entries changed."""
    place = -1
    for _ in range(entry + 1):
        place = body.index(CENTRAL_SIGNATURE, place + 1)
    changed = bytearray(body)
    struct.pack_into(form, changed, place + offset, value)
    return bytes(changed)


def overlapping() -> bytes:
    """Two entries that are the same bytes, as in a zip of 42 kB that unpacks to gigabytes."""
    body = zip_of(files())
    return patched(body, 42, "<I", 0, entry=1)


def duplicate() -> bytes:
    """Two entries of one name; only who reads the other one than the checker is fooled."""
    body = zip_of(files() | {"t2.nix": image()})
    return body.replace(b"t2.nix", b"t2.nii")


def lying_zip64() -> bytes:
    """An entry whose 64-bit size is that of all disks on earth."""
    body = BytesIO()
    with ZipFile(body, "w") as archive:
        for name, data in files().items():
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


def endless_list() -> bytes:
    """A list of entries of 12 MiB."""
    body = zip_of({f"{number:060d}": b"" for number in range(500)})
    listed = body[body.index(CENTRAL_SIGNATURE) : body.rindex(END_SIGNATURE)]
    times = 12 * 2**20 // len(listed)
    end = bytearray(body[body.rindex(END_SIGNATURE) :])
    struct.pack_into("<I", end, 12, len(listed) * times)
    return body[: body.index(CENTRAL_SIGNATURE)] + listed * times + bytes(end)


def zeros(mib: int) -> bytes:
    """So many MiB of nothing, gzipped to next to nothing."""
    return gzip.compress(bytes(mib * 2**20), 9)


def endless(word: str) -> bytes:
    """A gzip file that goes on and on, and inflates to nothing more."""
    return gzip.compress(image() if word else b"") + gzip.compress(b"") * 300_000


def bomb(compression: int) -> bytes:
    """Images of zeros that together unpack to a gigabyte."""
    return zip_of(dict.fromkeys(files(), bytes(256 * 2**20)), compression)


def case_of(**replaced: bytes) -> Callable[[], bytes]:
    """A case with some images replaced."""
    return lambda: zip_files(files(**replaced))


def claims(**fields: object) -> Callable[[], bytes]:
    """A case whose T2 claims something in its header."""
    return lambda: zip_files(files(t2=image(**fields)))


ARCHIVES: Mapping[str, Hostile] = {
    "no zip": Hostile(lambda: b"PK\3\4 and nothing of the kind", 400, "broken-archive", "whole zip"),
    "truncated": Hostile(lambda: zip_of(files())[:-30], 400, "broken-archive", "whole zip"),
    "wrong CRC": Hostile(lambda: patched(zip_of(files()), 16, "<I", 1), 400, "broken-archive", "damage"),
    "smaller than it is": Hostile(lambda: patched(zip_of(files()), 24, "<I", 400), 400, "broken-archive", "damage"),
    "larger than it is": Hostile(lambda: patched(zip_of(files()), 24, "<I", 9999), 400, "broken-archive", "damage"),
    "encrypted": Hostile(lambda: patched(zip_of(files()), 8, "<H", 1), 400, "broken-archive", "password"),
    "bzip2": Hostile(lambda: zip_of(files(), ZIP_BZIP2), 400, "broken-archive", "stored or deflated"),
    "lzma": Hostile(lambda: zip_of(files(), ZIP_LZMA), 400, "broken-archive", "stored or deflated"),
    "of a later version": Hostile(lambda: patched(zip_of(files()), 6, "<H", 64), 400, "broken-archive", "whole zip"),
    "a patch": Hostile(lambda: patched(zip_of(files()), 8, "<H", 0x20), 400, "broken-archive", "whole zip"),
    "out of the folder": Hostile(lambda: with_entry(ZipInfo("a/../../t1.nii")), 400, "unsafe-archive", "leads out"),
    "out by backslashes": Hostile(lambda: with_entry(ZipInfo("a\\..\\..\\t1")), 400, "unsafe-archive", "leads out"),
    "absolute": Hostile(lambda: with_entry(ZipInfo("/etc/passwd")), 400, "unsafe-archive", "leads out"),
    "on a drive": Hostile(lambda: with_entry(ZipInfo("C:x")), 400, "unsafe-archive", "leads out"),
    "link": Hostile(link, 400, "unsafe-archive", "link"),
    "nested": Hostile(lambda: with_entry(ZipInfo("a/more.ZIP")), 400, "unsafe-archive", "within the archive"),
    "nested gzip": Hostile(lambda: with_entry(ZipInfo("more.tar.gz")), 400, "unsafe-archive", "within the archive"),
    "duplicate": Hostile(duplicate, 400, "unsafe-archive", "two of one"),
    "overlapping": Hostile(overlapping, 400, "unsafe-archive", "overlap"),
    "many entries": Hostile(
        lambda: zip_of({str(number): b"" for number in range(1001)}), 413, "too-large", "1000 entries, found 1001"
    ),
    "endless list": Hostile(endless_list, 413, "too-large", "1000 entries"),
    "long name": Hostile(lambda: with_entry(ZipInfo("x" * 501)), 413, "too-large", "500 characters, found 501"),
    "lying size": Hostile(
        lambda: patched(zip_of(files()), 24, "<I", LYING_SIZE), 413, "too-large", "images of at most"
    ),
    "lying zip64": Hostile(lying_zip64, 413, "too-large", "images of at most"),
    "bomb": Hostile(lambda: bomb(ZIP_DEFLATED), 413, "too-large", "MiB unpacked, found 1024"),
}

VOLUMES: Mapping[str, Hostile] = {
    "empty": Hostile(case_of(t2=b""), 400, "malformed-image", "T2"),
    "text": Hostile(case_of(t2=b"no image" * 100), 400, "malformed-image", "T2"),
    "damaged gzip": Hostile(case_of(t2=b"\x1f\x8b" + bytes(400)), 400, "malformed-image", "T2"),
    "truncated": Hostile(case_of(t2=image()[:-1]), 400, "malformed-image", "T2"),
    "truncated gzip": Hostile(case_of(t2=gzip.compress(image())[:-1]), 400, "malformed-image", "T2"),
    "wrong checksum": Hostile(case_of(t2=gzip.compress(image())[:-8] + bytes(8)), 400, "malformed-image", "T2"),
    "gzip bomb": Hostile(case_of(t2=zeros(1000)), 400, "malformed-image", "T2"),
    "gzip bomb behind an image": Hostile(
        case_of(t2=gzip.compress(image()) + zeros(1000)), 400, "malformed-image", "T2"
    ),
    "endless gzip": Hostile(lambda: zip_of(files(t2=endless(""))), 400, "malformed-image", "T2"),
    "endless gzip behind an image": Hostile(lambda: zip_of(files(t2=endless("t2"))), 400, "malformed-image", "T2"),
    "NIfTI-2": Hostile(
        case_of(t2=nib.Nifti2Image(np.ones((2, 3, 4), np.int16), np.eye(4)).to_bytes()),
        400,
        "malformed-image",
        "NIfTI-1",
    ),
    "header of a pair": Hostile(claims(magic=b"ni1"), 400, "malformed-image", ".hdr and .img pair"),
    "no voxels": Hostile(claims(dim=[3, 8, 0, 10, 1, 1, 1, 1]), 400, "malformed-image", "three-dimensional"),
    "negative shape": Hostile(claims(dim=[3, 8, -9, 10, 1, 1, 1, 1]), 400, "malformed-image", "three-dimensional"),
    "32767 dimensions": Hostile(
        case_of(t2=big_endian(dim=[32767, 8, 9, 10, 1, 1, 1, 1])), 400, "malformed-image", "32767 dimensions"
    ),
    "four dimensions": Hostile(
        case_of(t2=image(np.ones((2, 3, 4, 5), np.int16))), 400, "malformed-image", "three-dimensional"
    ),
    "two dimensions": Hostile(
        case_of(t2=image(np.ones((2, 3), np.int16))), 400, "malformed-image", "three-dimensional"
    ),
    "too many voxels": Hostile(
        claims(dim=[3, 30000, 30000, 30000, 1, 1, 1, 1]), 413, "too-large", "30000 x 30000 x 30000"
    ),
    "complex": Hostile(case_of(t2=image(np.ones((2, 3, 4), np.complex64))), 400, "malformed-image", "complex64"),
    "RGB": Hostile(claims(datatype=128, bitpix=24), 400, "malformed-image", "integer or real"),
    "128 bits": Hostile(claims(datatype=1536, bitpix=128), 400, "malformed-image", "T2"),
    "unknown type": Hostile(claims(datatype=7777), 400, "malformed-image", "T2"),
    "voxels in the header": Hostile(claims(vox_offset=100), 400, "malformed-image", "T2"),
    "voxels at byte 0": Hostile(claims(vox_offset=0), 400, "malformed-image", "voxels from byte 352"),
    "voxels far away": Hostile(claims(vox_offset=1e12), 400, "malformed-image", "voxels from byte 352"),
    "voxels nowhere": Hostile(claims(vox_offset=np.nan), 400, "malformed-image", "T2"),
    "affine of NaN": Hostile(claims(srow_x=[np.nan] * 4), 422, "geometry", "T2: expected an affine that is finite"),
    "affine of nothing": Hostile(claims(srow_x=[0] * 4), 422, "geometry", "T2: expected an affine that is finite"),
    "kilometres": Hostile(case_of(t2=image(affine=np.diag([1e6] * 3 + [1]))), 422, "geometry", "1e+06 mm"),
    "nanometres": Hostile(case_of(t2=image(affine=np.diag([1e-6] * 3 + [1]))), 422, "geometry", "1e-06 mm"),
    "wrong rotation": Hostile(
        claims(sform_code=0, qform_code=1, quatern_b=9, quatern_c=9), 400, "malformed-image", "T2"
    ),
    "another grid": Hostile(case_of(t2=image(np.ones((8, 9, 11), np.int16))), 422, "geometry", "(8, 9, 11)"),
    "infinite slope": Hostile(claims(scl_slope=1, scl_inter=np.inf), 400, "malformed-image", "T2"),
    "slope beyond float32": Hostile(claims(scl_slope=3e38, scl_inter=1), 422, "intensities", "T2: expected finite"),
    "slope that leaves nothing": Hostile(claims(scl_slope=1e-45), 422, "intensities", "T2: expected varying"),
    "NaN": Hostile(
        case_of(t2=image(np.full((8, 9, 10), np.nan, np.float32))), 422, "intensities", "T2: expected finite"
    ),
    "infinity": Hostile(
        case_of(t2=image(np.full((8, 9, 10), np.inf, np.float32))), 422, "intensities", "T2: expected finite"
    ),
    "float64 beyond float32": Hostile(
        case_of(t2=image(np.full((8, 9, 10), 1e300))), 422, "intensities", "T2: expected finite"
    ),
    "squares beyond float32": Hostile(
        case_of(t2=image(np.linspace(1, 1e30, 720, dtype=np.float32).reshape(8, 9, 10))),
        422,
        "intensities",
        "T2: expected intensities whose squares",
    ),
    "zero": Hostile(case_of(t2=image(np.zeros((8, 9, 10), np.int16))), 422, "intensities", "T2: expected varying"),
    "constant": Hostile(case_of(t2=image(np.ones((8, 9, 10), np.int16))), 422, "intensities", "T2: expected varying"),
    "all zero": Hostile(
        lambda: zip_files(dict.fromkeys(files(), image(np.zeros((8, 9, 10), np.int16)))), 422, "intensities", "a brain"
    ),
}
