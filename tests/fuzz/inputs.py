"""Fuzzed uploads: generated field by field by hypothesis, or mutated from valid and malicious ones.

An upload is the files of a job folder by name: one zip named `file`, or one file per modality.
"""

import gzip
import struct
import zlib
from collections.abc import Callable, Mapping
from functools import cache
from random import Random
from zipfile import ZIP_STORED

import nibabel as nib
import numpy as np
from hypothesis import strategies as st
from support.case_files import MODALITY_NAMES, make_nifti, make_zip
from support.malicious_uploads import ARCHIVES, IMAGES

from service.intake.archive import ZIP_NAME

Upload = Mapping[str, bytes]

SECRET = "DOE^JANE"  # in names and free text; no message may contain it
SHAPES = ((3, 3, 3), (4, 3, 2), (1, 1, 1), (8, 9, 10))
MAX_CORPUS_ENTRY_BYTES = 2**15  # larger uploads take seconds, and tests cover them

INTERESTING_INTEGERS = (0, 1, 2, 3, 8, 255, 2**15 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1)
INTERESTING_REALS = (0.0, -0.0, 1.0, -1.0, 352.0, 1e-45, 1e-30, 1e30, 3.4e38, float("nan"), float("inf"), -float("inf"))

# Central directory header and local file header of an entry (APPNOTE.TXT 4.3.12 and 4.3.7).
CENTRAL = "<4s4B4HL2L5H2L"
LOCAL = "<4s2B4HL2L2H"
END = "<4s4H2LH"
END_64 = "<4sQ2H2L4Q"
LOCATOR_64 = "<4sLQL"


@cache
def make_image(shape: tuple[int, int, int], seed: int = 0) -> bytes:
    """A small NIfTI file."""
    return make_nifti(np.random.default_rng(seed).integers(1, 999, shape).astype(np.int16))


@cache
def corpus() -> tuple[tuple[Upload, ...], tuple[Upload, ...]]:
    """Uploads to mutate: zips, both valid and malicious ones, and sets of one file per modality."""
    valid = {f"{SECRET}/{name}.nii": make_image((3, 3, 3)) for name in (*MODALITY_NAMES, "seg")}
    gzipped = {f"{name}.gz": gzip.compress(data) for name, data in valid.items()}
    bodies = [make_zip(valid), make_zip(valid, ZIP_STORED), make_zip(gzipped), make_zip(gzipped, ZIP_STORED)]
    bodies += [upload.make_body() for upload in (*ARCHIVES.values(), *IMAGES.values())]
    parts = [dict(zip((*MODALITY_NAMES, "seg"), files.values(), strict=True)) for files in (valid, gzipped)]
    return tuple({ZIP_NAME: body} for body in bodies if len(body) <= MAX_CORPUS_ENTRY_BYTES), tuple(parts)


def mutate_upload(random: Random) -> Upload:
    """An upload of the corpus with some bytes of one file changed."""
    upload = dict(random.choice(random.choice(corpus())))
    name = random.choice(list(upload))
    data = bytearray(upload[name])
    mutates_content = name != ZIP_NAME and random.random() < 0.5 and data[:2] == b"\x1f\x8b"
    if mutates_content:  # instead of the compressed bytes
        upload[name] = gzip.compress(_mutate(bytearray(gzip.decompress(data)), random), 1)
    else:
        upload[name] = bytes(_mutate(data, random))
    return upload


def _mutate(data: bytearray, random: Random) -> bytearray:
    for _ in range(random.choice((1, 1, 1, 2, 4, 16))):
        random.choice(MUTATIONS)(data, random)
    return data


def _flip(data: bytearray, random: Random) -> None:
    data[_offset(data, random)] ^= 1 << random.randrange(8)


def _overwrite(data: bytearray, random: Random) -> None:
    form = random.choice(["<B", "<H", ">H", "<L", ">L", "<Q", "<f", ">f", "<d", ">d"])
    value = random.choice(INTERESTING_REALS if form[1] in "fd" else INTERESTING_INTEGERS)
    packed = struct.pack(form, value if form[1] in "fd" else value % 2 ** (8 * struct.calcsize(form)))
    start = _offset(data, random)
    data[start : start + len(packed)] = packed


def _delete(data: bytearray, random: Random) -> None:
    start = _offset(data, random)
    del data[start : start + random.choice((1, 2, 8, 64, 512))]


def _repeat(data: bytearray, random: Random) -> None:
    start, target = _offset(data, random), _offset(data, random)
    data[target:target] = data[start : start + random.choice((1, 4, 46, 300))]


def _insert(data: bytearray, random: Random) -> None:
    start = _offset(data, random)
    data[start:start] = random.randbytes(random.choice((1, 4, 30, 300)))


def _cut(data: bytearray, random: Random) -> None:
    del data[_offset(data, random) :]


def _offset(data: bytearray, random: Random) -> int:
    """A random offset, more often near the start or the end, where headers and directories are."""
    if not data:
        data.append(0)
    span = random.choice((len(data), min(len(data), 400)))
    offset = random.randrange(span)
    return offset if random.random() < 0.5 else len(data) - 1 - offset


MUTATIONS: tuple[Callable[[bytearray, Random], None], ...] = (
    _flip,
    _overwrite,
    _overwrite,
    _delete,
    _repeat,
    _insert,
    _cut,
)


# Strategies of hypothesis.

HEADER_TYPE = nib.Nifti1Header.template_dtype
FIELDS = [name for name in HEADER_TYPE.names if name not in ("sizeof_hdr", "magic")] * 4 + ["sizeof_hdr", "magic"]


def field_values(name: str) -> st.SearchStrategy[bytes]:
    """The little-endian bytes of a header field: extreme or arbitrary values."""
    field = HEADER_TYPE[name]
    kind, count = field.base, int(np.prod(field.shape, dtype=int))
    any_bytes = st.binary(min_size=field.itemsize, max_size=field.itemsize)
    if kind.kind == "S":
        return (
            st.sampled_from([bytes(field.itemsize), (SECRET.encode() + b"\xff" * field.itemsize)[: field.itemsize]])
            | any_bytes
        )
    if kind.kind == "f":
        values = [np.float32(value).tobytes() for value in INTERESTING_REALS]
    else:
        values = [
            (value % 2 ** (8 * kind.itemsize)).to_bytes(kind.itemsize, "little") for value in INTERESTING_INTEGERS
        ]
    each = st.lists(st.sampled_from(values), min_size=count, max_size=count).map(b"".join)
    return each | any_bytes


FIELD_VALUES = {name: field_values(name) for name in set(FIELDS)}
SEVERAL = st.integers(0, 3)


@st.composite
def images(draw: st.DrawFn, shape: tuple[int, int, int]) -> bytes:
    """A NIfTI file with arbitrary header fields, byte order, voxels and compression."""
    data = make_image(shape, draw(st.integers(0, 1)))
    block = np.frombuffer(data[:348], HEADER_TYPE).copy()
    for _ in range(draw(SEVERAL)):
        name = draw(st.sampled_from(FIELDS))
        block[name] = np.frombuffer(draw(FIELD_VALUES[name]), HEADER_TYPE[name].base).reshape(HEADER_TYPE[name].shape)
    header = (block.byteswap() if draw(st.booleans()) else block).tobytes()
    voxels = draw(
        st.sampled_from([data[352:], data[352:-1], bytes(8 * 720), data[352:] + b"x" * 99, b""]) | st.binary()
    )
    return _compress(header + bytes(4) + voxels, draw(st.sampled_from([0, 0, 0, 1, 1, 2, 3, 4, 5])))


def _compress(data: bytes, how: int) -> bytes:
    """The data unchanged, or as valid or invalid gzip."""
    if how == 0:
        return data
    packed = gzip.compress(data, 1)
    return (packed, gzip.compress(packed), packed[:-9], packed + packed, packed + b"\x1f\x8b\x08 and more")[how - 1]


NAMES = st.sampled_from(
    [f"{word}{end}" for word in MODALITY_NAMES for end in (".nii", ".nii.gz")] * 3
    + [f"{SECRET}_{word}.NII" for word in (*MODALITY_NAMES, "seg", "t1gd", "t2w")]
    + [
        "",
        "/",
        "t1.nii/",
        "a\\t1.nii",
        "._t1.nii",
        ".nii",
        "-t1.nii",
        "t1.nii\0.exe",
        "\ud7ff",
        "t1.nii ",
        "seg.nii.gz",
    ]
) | st.text(max_size=12)
FALSE_VALUES = st.sampled_from(INTERESTING_INTEGERS)
EXTRAS = st.sampled_from([b""] * 6) | st.one_of(
    st.binary(max_size=30),
    st.lists(FALSE_VALUES, max_size=4).map(
        lambda sizes: struct.pack(f"<2H{len(sizes)}Q", 1, 8 * len(sizes), *sizes)
    ),  # zip64
    st.tuples(FALSE_VALUES, st.binary(max_size=8)).map(
        lambda value: struct.pack("<2H", 1, value[0] % 2**16) + value[1]
    ),
    st.just(struct.pack("<2HBL", 0x7075, 9, 1, 0) + b"t1.n"),  # Unicode path of Info-ZIP
)


@st.composite
def archives(draw: st.DrawFn) -> bytes:
    """A zip in which every field may be false."""
    shape = draw(st.sampled_from(SHAPES))
    names = [f"{word}.nii" for word in MODALITY_NAMES] + draw(st.lists(NAMES, max_size=2))
    body, directory = draw(st.sampled_from([b"", b"", b"", b"#!/bin/sh\n"])), b""
    base = draw(st.sampled_from([0, 0, len(body)]))  # offsets count from the start of the file or of the zip
    for name in names:
        entry, line = draw(entries(name, shape, len(body) - base))
        body, directory = body + entry, directory + line
    end = draw(ends(len(names), len(directory), len(body) - base))
    cut = draw(st.sampled_from([None] * 9 + [-1, -10, -23, 30]))
    return (body + directory + end)[:cut]


@st.composite
def entries(draw: st.DrawFn, name: str, shape: tuple[int, int, int], offset: int) -> tuple[bytes, bytes]:
    """An entry: its local header and data, and its central directory header."""
    data = draw(st.just(make_image(shape)) | images(shape))
    method = draw(st.sampled_from([0, 0, 8, 8, 8]))
    packed = zlib.compress(data, 1, wbits=-15) if method else data
    encoded = name.encode("utf-8", "surrogatepass")
    true = {
        "version": 20, "flags": 0x800, "method": method, "crc": zlib.crc32(data), "packed": len(packed),
        "size": len(data), "disk": 0, "internal": 0, "external": 0o100644 << 16, "offset": offset,
        "name": len(encoded), "extra": 0, "comment": 0,
    }  # fmt: skip
    local_extra, extra = draw(EXTRAS), draw(EXTRAS)
    local, line = true | {"extra": len(local_extra)}, true | {"extra": len(extra)}
    for _ in range(draw(SEVERAL)):
        header = draw(st.sampled_from([local, line, line]))
        header[draw(st.sampled_from(list(true)))] = draw(FALSE_VALUES)
    header = struct.pack(
        LOCAL, b"PK\3\4", line["version"] % 256, 0, *_short(local, "flags", "method"), 0, 33,
        *_long(local, "crc", "packed", "size"), *_short(local, "name", "extra"),
    )  # fmt: skip
    central = struct.pack(
        CENTRAL, b"PK\1\2", 20, 3, line["version"] % 256, 0, *_short(line, "flags", "method"), 0, 33,
        *_long(line, "crc", "packed", "size"), *_short(line, "name", "extra", "comment", "disk", "internal"),
        *_long(line, "external", "offset"),
    )  # fmt: skip
    return header + encoded + local_extra + packed, central + encoded + extra


@st.composite
def ends(draw: st.DrawFn, count: int, size: int, offset: int) -> bytes:
    """The end of central directory record, with or without its ZIP64 form."""
    comment = draw(st.sampled_from([b"", b"", SECRET.encode(), b"PK\5\6" + bytes(18)]))
    true = {
        "disk": 0,
        "start": 0,
        "here": count,
        "count": count,
        "size": size,
        "offset": offset,
        "comment": len(comment),
    }
    written, written_64 = dict(true), dict(true)
    for _ in range(draw(SEVERAL)):
        draw(st.sampled_from([written, written_64]))[draw(st.sampled_from(list(true)))] = draw(FALSE_VALUES)
    end = struct.pack(END, b"PK\5\6", *_short(written, "disk", "start", "here", "count"),
                      *_long(written, "size", "offset"), *_short(written, "comment"))  # fmt: skip
    if draw(st.sampled_from([False, False, True])):
        record = struct.pack(END_64, b"PK\6\6", 44, 45, 45, *_long(written_64, "disk", "start"),
                             *(written_64[name] for name in ("here", "count", "size", "offset")))  # fmt: skip
        end = record + struct.pack(LOCATOR_64, b"PK\6\7", 0, draw(FALSE_VALUES | st.just(offset + size)), 1) + end
    return end + comment


def _short(values: Mapping[str, int], *names: str) -> list[int]:
    return [values[name] % 2**16 for name in names]


def _long(values: Mapping[str, int], *names: str) -> list[int]:
    return [values[name] % 2**32 for name in names]


@st.composite
def parts(draw: st.DrawFn) -> Upload:
    """One file per modality, of which one or all are generated."""
    shape = draw(st.sampled_from(SHAPES))
    names = (*MODALITY_NAMES, "seg") if draw(st.booleans()) else MODALITY_NAMES
    generated = draw(st.sampled_from([*((name,) for name in names), names]))
    return {name: draw(images(shape)) if name in generated else make_image(shape) for name in names}


def uploads() -> st.SearchStrategy[Upload]:
    """Zips, and sets of one file per modality."""
    return archives().map(lambda body: {ZIP_NAME: body}) | parts()
