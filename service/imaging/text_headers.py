"""Reading headers of MetaImage (.mha) and NRRD, which are lines of text.

Both formats can name another file that holds the voxels. Such a name is never followed: an upload could read any file
of the service's machine.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from io import BufferedReader
from typing import Any, BinaryIO

import numpy as np
from isal import igzip
from numpy.typing import NDArray

from service.imaging.errors import MalformedImageError
from service.imaging.geometry import LPS_AXES
from service.imaging.header_checks import checked_grid, checked_type
from service.imaging.open_image import MAX_HEADER_BYTES, BoundedFile, OpenImage, ZlibFile

META_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
NRRD_TYPES = {
    name: dtype
    for dtype, names in {
        "i1": "signed char,int8,int8_t",
        "u1": "uchar,unsigned char,uint8,uint8_t",
        "i2": "short,short int,signed short,signed short int,int16,int16_t",
        "u2": "ushort,unsigned short,unsigned short int,uint16,uint16_t",
        "i4": "int,signed int,int32,int32_t",
        "u4": "uint,unsigned int,uint32,uint32_t",
        "i8": "longlong,long long,long long int,int64,int64_t",
        "u8": "ulonglong,unsigned long long,unsigned long long int,uint64,uint64_t",
        "f4": "float",
        "f8": "double",
    }.items()
    for name in names.split(",")
}
NRRD_SPACES = {
    **dict.fromkeys(("left-posterior-superior", "lps"), LPS_AXES),
    **dict.fromkeys(("right-anterior-superior", "ras"), np.eye(3)),
    **dict.fromkeys(("left-anterior-superior", "las"), np.diag([-1.0, 1.0, 1.0])),
}


def read_metaimage(stream: BinaryIO, name: str) -> OpenImage:
    """Read the header of a MetaImage. Raises like `read_nifti`; ValueError if unsupported."""
    fields: dict[str, str] = {}
    for line in _lines(stream):
        key, _, value = line.partition("=")
        fields[key.strip()] = value.strip()
        if key.strip() == "ElementDataFile":
            break
    if fields["ElementDataFile"] != "LOCAL" or int(fields.get("ElementNumberOfChannels", 1)) != 1:
        raise ValueError("voxels in another file, or several values a voxel")
    if "HeaderSize" in fields or not _is_true(fields.get("BinaryData", "True")):
        raise ValueError("voxels as text, or at an unknown place")
    is_big = _is_true(fields.get("BinaryDataByteOrderMSB", fields.get("ElementByteOrderMSB", "False")))
    directions = _numbers(_first(fields, "TransformMatrix", "Rotation", "Orientation", default="1 0 0 0 1 0 0 0 1"))
    spacing = _numbers(fields["ElementSpacing"])
    origin = _numbers(_first(fields, "Offset", "Position", "Origin", default="0 0 0"))
    affine = _affine(LPS_AXES, directions.reshape(3, 3) * spacing[:, None], origin)
    image = OpenImage(
        name,
        stream,
        checked_grid([int(length) for length in fields["DimSize"].split()], affine, name),
        checked_type(_voxel_type(META_TYPES[fields["ElementType"]], is_big=is_big), name),
    )
    return _inflated(image, "zlib" if _is_true(fields.get("CompressedData", "False")) else "raw")


def read_nrrd(stream: BinaryIO, name: str) -> OpenImage:
    """Read the header of an NRRD image. Raises like `read_metaimage`."""
    fields: dict[str, str] = {}
    for line in _lines(stream):
        if not line:
            break
        key, separator, value = line.partition(": ")
        if separator and not line.startswith("#"):
            fields[key.lower().replace(" ", "")] = value.strip()  # "data file" may be written "datafile"
    if fields.keys() & {"datafile", "lineskip", "byteskip"}:
        raise ValueError("voxels in another file, or at an unknown place")
    directions = np.array([_numbers(vector.strip("()"), ",") for vector in fields["spacedirections"].split()])
    origin = _numbers(fields.get("spaceorigin", "(0,0,0)").strip("()"), ",")
    affine = _affine(NRRD_SPACES[fields["space"].lower()], directions, origin)
    is_big = fields.get("endian", "little").lower() == "big"
    image = OpenImage(
        name,
        stream,
        checked_grid([int(length) for length in fields["sizes"].split()], affine, name),
        checked_type(_voxel_type(NRRD_TYPES[fields["type"].lower()], is_big=is_big), name),
    )
    return _inflated(image, fields["encoding"].lower())


def _lines(stream: BinaryIO) -> Iterator[str]:
    """Yield the lines of a header, without line ends. Raises ValueError if it does not end."""
    left = MAX_HEADER_BYTES
    while line := stream.readline(left):
        yield line.decode("utf-8", "replace").rstrip("\r\n")
        left -= len(line)
    raise ValueError("a header without an end")


def _affine(to_ras: NDArray[Any], directions: NDArray[Any], origin: NDArray[Any]) -> NDArray[np.float64]:
    """From voxel indices to RAS+ millimetres, given the step of each array axis (3, 3) and the first voxel."""
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = to_ras @ directions.T, to_ras @ origin
    return affine


def _first(fields: Mapping[str, str], *names: str, default: str) -> str:
    """The value of the first of these synonyms that a header has."""
    return next((fields[name] for name in names if name in fields), default)


def _numbers(text: str, separator: str | None = None) -> NDArray[np.float64]:
    return np.array([float(number) for number in text.split(separator)])


def _is_true(text: str) -> bool:
    return text.lower() == "true"


def _voxel_type(name: str, *, is_big: bool) -> np.dtype[Any]:
    return np.dtype(name).newbyteorder(">" if is_big else "<")


def _inflated(image: OpenImage, encoding: str) -> OpenImage:
    """The image with its voxels decompressed."""
    if encoding == "raw":
        return image
    compressed = BoundedFile(image.stream)
    compressed.allow(image.stored_bytes)
    if encoding in ("gzip", "gz"):
        return replace(image, stream=igzip.open(compressed))
    if encoding == "zlib":
        return replace(image, stream=BufferedReader(ZlibFile(compressed)))
    raise MalformedImageError(f"{image.name}: expected raw or gzip-compressed voxels, found another encoding.")
