"""NIfTI files generated field by field by hypothesis."""

import gzip

import nibabel as nib
import numpy as np
from hypothesis import strategies as st

from fuzz.corpus import INTERESTING_INTEGERS, INTERESTING_REALS, SECRET, make_image

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
