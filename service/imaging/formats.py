"""The file formats of images, told apart by what is in a file and not by its name: renamed files are common."""

from collections.abc import Sequence
from io import BytesIO
from typing import BinaryIO, cast

import numpy as np
from isal import igzip
from nibabel.freesurfer.mghformat import MGHHeader

from service.imaging.header_checks import checked_grid, checked_type
from service.imaging.nifti import header_size, read_nifti
from service.imaging.open_image import (
    GZIP_MAGIC,
    BoundedFile,
    OpenImage,
    malformed_image_errors,
    read_exactly,
)
from service.imaging.text_headers import read_metaimage, read_nrrd
from service.imaging.volume import Volume

HEAD_BYTES = 16  # enough to tell the formats apart
MGH_VERSION, MGH_HEADER_BYTES = (1).to_bytes(4, "big"), 284
METAIMAGE_STARTS = (b"ObjectType", b"NDims", b"Comment")
NRRD_START = b"NRRD000"


def open_image(files: Sequence[BinaryIO], name: str) -> OpenImage:
    """Read and check the header of an image: one file, or a .hdr and an .img file. `name` is used in error messages.

    Raises MalformedImageError, OversizedImageError or GeometryError.
    """
    with malformed_image_errors(name), np.errstate(all="ignore"):  # non-finite fields are rejected
        (compressed, stream), *second = map(_decompressed, files)
        head = stream.read(HEAD_BYTES)
        compressed, stream = _decompressed(files[0])
        if size := header_size(head):
            image = read_nifti(size, stream, second[0][1] if second else None, name)
        elif head.startswith(MGH_VERSION):
            image = _read_mgh(stream, name)
        elif head.startswith(NRRD_START):
            image = read_nrrd(stream, name)
        elif head.startswith(METAIMAGE_STARTS):
            image = read_metaimage(stream, name)
        else:
            raise ValueError("an unknown format")
        for file, _ in [(compressed, stream), *second]:
            file.allow(image.stored_bytes)
        return image


def decode(data: bytes, name: str, *second: bytes) -> Volume:
    """The volume in the bytes of an image file, or of a .hdr and an .img file.

    Raises like `open_image` and `OpenImage.read`.
    """
    image = open_image([BytesIO(data), *map(BytesIO, second)], name)
    return image.read(bytearray(image.size_bytes))


def _decompressed(file: BinaryIO) -> tuple[BoundedFile, BinaryIO]:
    """A file from its start, and the stream of its content without gzip."""
    file.seek(0)
    is_compressed = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
    file.seek(0)
    bounded = BoundedFile(file)
    return bounded, cast(BinaryIO, igzip.open(bounded)) if is_compressed else file


def _read_mgh(stream: BinaryIO, name: str) -> OpenImage:
    """Read the header of an MGH image (FreeSurfer)."""
    header = MGHHeader(read_exactly(stream, MGH_HEADER_BYTES))
    grid = checked_grid(header.get_data_shape(), header.get_affine(), name)
    return OpenImage(name, stream, grid, checked_type(header.get_data_dtype(), name))
