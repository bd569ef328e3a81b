"""Zips generated field by field by hypothesis."""

import struct
import zlib
from collections.abc import Mapping

from hypothesis import strategies as st
from support.case_files import MODALITY_NAMES

from fuzz.corpus import INTERESTING_INTEGERS, SECRET, SHAPES, make_image
from fuzz.generated_images import SEVERAL, images

# Central directory header and local file header of an entry (APPNOTE.TXT 4.3.12 and 4.3.7).
CENTRAL = "<4s4B4HL2L5H2L"
LOCAL = "<4s2B4HL2L2H"
END = "<4s4H2LH"
END_64 = "<4sQ2H2L4Q"
LOCATOR_64 = "<4sLQL"

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
