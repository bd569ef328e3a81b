"""Reading and writing NIfTI-1 images, trusting nothing in the file."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO, RawIOBase
from typing import Any, BinaryIO, cast

import nibabel as nib
import numpy as np
from isal import igzip, isal_zlib
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from service.imaging.errors import MalformedImageError
from service.imaging.nifti_header import (
    FIRST_VOXEL_BYTE,
    HEADER_BYTES,
    MAX_EXTENSION_BYTES,
    MAX_VOXELS,
    checked_affine,
    checked_offset,
    checked_shape,
    checked_type,
)
from service.imaging.volume import Grid, Volume

MAX_TRAILING_BYTES = 2**20  # padding that some writers leave after the voxels
MAX_FILE_BYTES = 8 * MAX_VOXELS + FIRST_VOXEL_BYTE + MAX_EXTENSION_BYTES + MAX_TRAILING_BYTES
COMPRESSED_ALLOWANCE_BYTES = 2**22  # on top of the voxels, which hardly grow when compressed
CHUNK_VOXELS = 2**17  # held in memory twice: as stored and as converted

GZIP_MAGIC = b"\x1f\x8b"
READ_ERRORS = (
    HeaderDataError,
    WrapStructError,
    OSError,
    EOFError,
    cast(type[Exception], isal_zlib.error),  # its type stub declares an instance, not a class
    ValueError,
    OverflowError,
)


class _BoundedGzipFile(RawIOBase):
    """Limits how much of a gzip file is read: a malicious one may be endless and never decompress to any data."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.bytes_left = COMPRESSED_ALLOWANCE_BYTES

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


@dataclass(frozen=True)
class OpenImage:
    """A NIfTI-1 file with a valid header, before any voxel is read."""

    name: str  # used in error messages
    stream: BinaryIO  # positioned at the first voxel
    grid: Grid
    stored_type: np.dtype[Any]
    scaling: tuple[float, float] | None  # slope and intercept; None if voxels are not scaled

    @property
    def voxel_type(self) -> np.dtype[Any]:
        """The stored type, which takes the least memory; float32 for scaled or 64-bit voxels."""
        as_stored = self.scaling is None and self.stored_type.itemsize <= 4
        return self.stored_type.newbyteorder("=") if as_stored else np.dtype(np.float32)

    @property
    def size_bytes(self) -> int:
        """Memory that the voxels take."""
        return int(np.prod(self.grid.shape)) * self.voxel_type.itemsize

    def read(self, buffer: Any) -> Volume:
        """Read the voxels into a writable buffer of `size_bytes`. Raises MalformedImageError."""
        voxels = np.frombuffer(buffer, self.voxel_type)
        with _malformed_image_errors(self.name):
            for start in range(0, voxels.size, CHUNK_VOXELS):
                chunk = voxels[start : start + CHUNK_VOXELS]
                chunk[:] = self._scaled(self._read_stored(chunk.size))
            # gzip checks its checksum only at the end of the stream, and most damage shows nowhere else.
            if len(self.stream.read(MAX_TRAILING_BYTES + 1)) > MAX_TRAILING_BYTES:
                raise ValueError("more bytes than the image has")
        return Volume(voxels.reshape(self.grid.shape, order="F"), self.grid.affine)

    def _read_stored(self, count: int) -> NDArray[Any]:
        return np.frombuffer(_read_exactly(self.stream, count * self.stored_type.itemsize), self.stored_type)

    def _scaled(self, stored: NDArray[Any]) -> NDArray[Any]:
        with np.errstate(all="ignore"):  # overflow becomes infinity, which normalisation rejects
            if self.scaling is None:
                return stored.astype(self.voxel_type)
            slope, intercept = self.scaling
            scaled: NDArray[np.float32] = stored.astype(np.float32) * np.float32(slope) + np.float32(intercept)
            return scaled


def open_nifti(file: BinaryIO, name: str) -> OpenImage:
    """Read and check the header of a .nii or .nii.gz file; `name` is used in error messages.

    Raises MalformedImageError, OversizedImageError or GeometryError.
    """
    # The content decides, not the file name: renamed files are common.
    with _malformed_image_errors(name), np.errstate(all="ignore"):  # non-finite fields are rejected below
        is_compressed = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
        file.seek(0)
        compressed = _BoundedGzipFile(file)
        stream = cast(BinaryIO, igzip.open(compressed)) if is_compressed else file
        header = nib.Nifti1Header(_read_exactly(stream, HEADER_BYTES))
        first_voxel_byte = checked_offset(header, name)
        _read_exactly(stream, first_voxel_byte - HEADER_BYTES)
        stored_type, shape = checked_type(header, name), checked_shape(header, name)
        grid = Grid(shape, checked_affine(header, name))
        slope, intercept = header.get_slope_inter()
        compressed.bytes_left += int(1.1 * np.prod(shape) * stored_type.itemsize)
    unscaled = slope is None or (slope, intercept) == (1, 0)
    return OpenImage(name, stream, grid, stored_type, None if unscaled else (slope, intercept))


def decode_nifti(data: bytes, name: str) -> Volume:
    """The volume in the bytes of a .nii or .nii.gz file. Raises like `open_nifti` and `OpenImage.read`."""
    image = open_nifti(BytesIO(data), name)
    return image.read(bytearray(image.size_bytes))


def encode_nifti(volume: Volume, slope: float = 1.0) -> bytes:
    """The volume as a .nii.gz file without a time stamp: equal volumes give equal bytes.

    Readers multiply the stored voxels by the slope.
    """
    image = nib.Nifti1Image(volume.voxels, volume.affine)
    image.header.set_xyzt_units("mm")
    image.header.set_slope_inter(slope, 0)
    return igzip.compress(image.to_bytes(), compresslevel=1, mtime=0)


def _read_exactly(stream: BinaryIO, count: int) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise EOFError
    return data


@contextmanager
def _malformed_image_errors(name: str) -> Iterator[None]:
    """Translate the errors of damaged files."""
    try:
        yield
    except READ_ERRORS as error:
        raise MalformedImageError(
            f"{name}: expected a whole NIfTI-1 image (.nii or .nii.gz), found damage or another format."
        ) from error
