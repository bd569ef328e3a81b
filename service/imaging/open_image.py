"""An image file whose header was read: its voxels follow, in one stream, and nothing in the file is trusted."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import RawIOBase
from typing import Any, BinaryIO, cast

import numpy as np
from isal import isal_zlib
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from service.imaging.errors import MalformedImageError
from service.imaging.header_checks import MAX_VOXELS
from service.imaging.volume import Grid, Volume

MAX_HEADER_BYTES = 2**20  # in text, with comments
MAX_TRAILING_BYTES = 2**20  # padding that some writers leave after the voxels
MAX_EXTENSION_BYTES = 2**22  # of NIfTI; some converters store the whole DICOM header in it
MAX_FILE_BYTES = 8 * MAX_VOXELS + MAX_EXTENSION_BYTES + MAX_TRAILING_BYTES
COMPRESSED_ALLOWANCE_BYTES = 2**22  # for the header
CHUNK_VOXELS = 2**17  # held in memory twice: as stored and as converted
CHUNK_BYTES = 2**16

GZIP_MAGIC = b"\x1f\x8b"
READ_ERRORS = (
    HeaderDataError,
    WrapStructError,
    OSError,
    EOFError,
    cast(type[Exception], isal_zlib.error),  # its type stub declares an instance, not a class
    ValueError,
    KeyError,  # a header without a necessary field
    OverflowError,
)


class BoundedFile(RawIOBase):
    """Limits how much of a compressed file is read: a malicious one may never decompress to any data."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.bytes_left = COMPRESSED_ALLOWANCE_BYTES

    def allow(self, inflated_bytes: int) -> None:
        """Raise the limit for content of this size, which hardly grows when it is compressed."""
        self.bytes_left += int(1.1 * inflated_bytes)

    def readable(self) -> bool:
        """Always true."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer. Raises ValueError beyond the limit."""
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        self.bytes_left -= len(data)
        if self.bytes_left < 0:
            raise ValueError("more compressed bytes than the image needs")
        return len(data)


class ZlibFile(RawIOBase):
    """The content of a stream in zlib's format, as in compressed MetaImages."""

    def __init__(self, file: BoundedFile) -> None:
        self._file, self._inflate = file, isal_zlib.decompressobj()
        self._waiting = b""

    def readable(self) -> bool:
        """Always true."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer."""
        data, chunk = b"", b" "
        while chunk and not data and not self._inflate.eof:
            chunk = self._waiting or self._file.read(CHUNK_BYTES)
            data = self._inflate.decompress(chunk, len(buffer))  # even without a chunk: some output may be waiting
            self._waiting = self._inflate.unconsumed_tail
        buffer[: len(data)] = data
        return len(data)


@dataclass(frozen=True)
class OpenImage:
    """A file with a valid header, before any voxel is read."""

    name: str  # used in error messages
    stream: BinaryIO  # positioned at the first voxel
    grid: Grid
    stored_type: np.dtype[Any]
    scaling: tuple[float, float] | None = None  # slope and intercept; None if voxels are not scaled

    @property
    def voxel_type(self) -> np.dtype[Any]:
        """The stored type, which takes the least memory; float32 for scaled or 64-bit voxels."""
        as_stored = self.scaling is None and self.stored_type.itemsize <= 4
        return self.stored_type.newbyteorder("=") if as_stored else np.dtype(np.float32)

    @property
    def size_bytes(self) -> int:
        """Memory that the voxels take."""
        return int(np.prod(self.grid.shape)) * self.voxel_type.itemsize

    @property
    def stored_bytes(self) -> int:
        """Size of the voxels in the file, without compression."""
        return int(np.prod(self.grid.shape)) * self.stored_type.itemsize

    def read(self, buffer: Any) -> Volume:
        """Read the voxels into a writable buffer of `size_bytes`. Raises MalformedImageError."""
        voxels = np.frombuffer(buffer, self.voxel_type)
        with malformed_image_errors(self.name):
            for start in range(0, voxels.size, CHUNK_VOXELS):
                chunk = voxels[start : start + CHUNK_VOXELS]
                chunk[:] = self._scaled(self._read_stored(chunk.size))
            # gzip checks its checksum only at the end of the stream, and most damage shows nowhere else.
            if len(self.stream.read(MAX_TRAILING_BYTES + 1)) > MAX_TRAILING_BYTES:
                raise ValueError("more bytes than the image has")
        return Volume(voxels.reshape(self.grid.shape, order="F"), self.grid.affine)

    def _read_stored(self, count: int) -> NDArray[Any]:
        return np.frombuffer(read_exactly(self.stream, count * self.stored_type.itemsize), self.stored_type)

    def _scaled(self, stored: NDArray[Any]) -> NDArray[Any]:
        with np.errstate(all="ignore"):  # overflow becomes infinity, which normalisation rejects
            if self.scaling is None:
                return stored.astype(self.voxel_type)
            slope, intercept = self.scaling
            scaled: NDArray[np.float32] = stored.astype(np.float32) * np.float32(slope) + np.float32(intercept)
            return scaled


def read_exactly(stream: BinaryIO, count: int) -> bytes:
    """This many bytes. Raises EOFError if there are fewer."""
    data = stream.read(count)
    if len(data) < count:
        raise EOFError
    return data


@contextmanager
def malformed_image_errors(name: str) -> Iterator[None]:
    """Translate the errors of damaged files."""
    try:
        yield
    except READ_ERRORS as error:
        raise MalformedImageError(
            f"{name}: expected a whole image in NIfTI, NRRD, MetaImage or MGH format, found damage or another format."
        ) from error
