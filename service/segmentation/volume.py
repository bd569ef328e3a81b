"""An image that never travels without its affine, and its NIfTI-1 encoding."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO, RawIOBase
from typing import Any, BinaryIO, cast

import nibabel as nib
import numpy as np
from isal import igzip, isal_zlib
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from service.segmentation.errors import GeometryError, MalformedImageError, OversizedImageError

MAX_VOXELS = 2**26  # 512 x 512 x 256: four such float32 volumes take 1 GiB
VOXEL_TYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64")
MIN_SPACING_MM, MAX_SPACING_MM = 0.1, 20.0  # thick slices have 7; what is beyond was meant in other units
MAX_CONDITION = 1e4  # longest over shortest step of an affine: beyond it an axis is as good as missing

HEADER_BYTES, FIRST_VOXEL_BYTE = 348, 352  # of NIfTI-1 in one file
MAX_DIMENSIONS = 7  # that NIfTI-1 has
MAX_EXTENSION_BYTES = 2**20  # free text between header and voxels, which nobody reads here
MAX_TRAILING_BYTES = 2**20  # padding that some writers leave behind the voxels
MAX_FILE_BYTES = 8 * MAX_VOXELS + FIRST_VOXEL_BYTE + MAX_EXTENSION_BYTES + MAX_TRAILING_BYTES
MAX_COMPRESSED_BYTES = 2**22  # beside those of the voxels, which take hardly more compressed than plain
PIECE_VOXELS = 2**17  # that are in memory twice, as the file has them and as they are given

GZIP_MAGIC = b"\x1f\x8b"
DAMAGE = (
    HeaderDataError,
    WrapStructError,
    OSError,
    EOFError,
    cast(type[Exception], isal_zlib.error),  # whose stub says that it is an error, not a class
    ValueError,
    OverflowError,
)


@dataclass(frozen=True)
class Grid:
    """Where voxels lie: shape (X, Y, Z), and affine (4, 4) from voxel indices to RAS+ millimetres, as NIfTI has it."""

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]

    @cached_property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size along each array axis."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0).tolist()
        return x, y, z

    @property
    def orientation(self) -> str:
        """The nearest anatomical direction of each array axis, such as LPS."""
        return "".join(nib.aff2axcodes(self.affine))

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return abs(float(np.linalg.det(self.affine[:3, :3]))) / 1000


@dataclass(frozen=True)
class Volume:
    """One image: voxels (X, Y, Z) in the order of the grid's array axes, and the affine that places them."""

    voxels: NDArray[np.generic]
    affine: NDArray[np.float64]

    @property
    def grid(self) -> Grid:
        """The grid that the voxels lie on."""
        x, y, z = self.voxels.shape
        return Grid((x, y, z), self.affine)


class _Compressed(RawIOBase):
    """A gzip file, of which no more is read than its image can need: it may go on for ever, and inflate to nothing."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.left = MAX_COMPRESSED_BYTES

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read as a file does. Raises ValueError where that is too much."""
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        self.left -= len(data)
        if self.left < 0:
            raise ValueError("more compressed bytes than the image needs")
        return len(data)


@dataclass(frozen=True)
class OpenImage:
    """A NIfTI-1 file whose header was found good, and of which no voxel has been read."""

    name: str  # what messages call it
    stream: BinaryIO  # at the first voxel
    grid: Grid
    stored_type: np.dtype[Any]
    scaling: tuple[float, float] | None  # slope and intercept; None where voxels are as they are stored

    @property
    def voxel_type(self) -> np.dtype[Any]:
        """That of the file, which takes the least memory; float32 where voxels are scaled, or of 64 bits."""
        as_stored = self.scaling is None and self.stored_type.itemsize <= 4
        return self.stored_type.newbyteorder("=") if as_stored else np.dtype(np.float32)

    @property
    def size_bytes(self) -> int:
        """What the voxels take in memory."""
        return int(np.prod(self.grid.shape)) * self.voxel_type.itemsize

    def read(self, buffer: Any) -> Volume:
        """The image, its voxels in a writable buffer of its size. Raises MalformedImageError."""
        voxels = np.frombuffer(buffer, self.voxel_type)
        with _translated(self.name):
            for start in range(0, voxels.size, PIECE_VOXELS):
                piece = voxels[start : start + PIECE_VOXELS]
                piece[:] = self._scaled(self._read_stored(piece.size))
            # Only at the end of the stream does gzip compare its checksum, and most damage shows nowhere else.
            if len(self.stream.read(MAX_TRAILING_BYTES + 1)) > MAX_TRAILING_BYTES:
                raise ValueError("more bytes than the image has")
        return Volume(voxels.reshape(self.grid.shape, order="F"), self.grid.affine)

    def _read_stored(self, count: int) -> NDArray[Any]:
        return np.frombuffer(_read_exactly(self.stream, count * self.stored_type.itemsize), self.stored_type)

    def _scaled(self, stored: NDArray[Any]) -> NDArray[Any]:
        with np.errstate(all="ignore"):  # what overflows is infinite, which no case is allowed to be
            if self.scaling is None:
                return stored.astype(self.voxel_type)
            slope, intercept = self.scaling
            scaled: NDArray[np.float32] = stored.astype(np.float32) * np.float32(slope) + np.float32(intercept)
            return scaled


def open_nifti(file: BinaryIO, name: str) -> OpenImage:
    """The image in a .nii or .nii.gz file, its header read and checked; `name` is what messages call it.

    Raises MalformedImageError, OversizedImageError or GeometryError.
    """
    # The content decides, not the file name: renamed files are common.
    with _translated(name), np.errstate(all="ignore"):  # what is not finite in a header is refused, without a warning
        is_compressed = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
        file.seek(0)
        compressed = _Compressed(file)
        stream = cast(BinaryIO, igzip.open(compressed)) if is_compressed else file
        header = nib.Nifti1Header(_read_exactly(stream, HEADER_BYTES))
        first_voxel_byte = _checked_offset(header, name)
        _read_exactly(stream, first_voxel_byte - HEADER_BYTES)
        stored_type, shape = _checked_type(header, name), _checked_shape(header, name)
        grid = Grid(shape, _checked_affine(header, name))
        slope, intercept = header.get_slope_inter()
        compressed.left += int(1.1 * np.prod(shape) * stored_type.itemsize)
    unscaled = slope is None or (slope, intercept) == (1, 0)
    return OpenImage(name, stream, grid, stored_type, None if unscaled else (slope, intercept))


def decode_nifti(data: bytes, name: str) -> Volume:
    """The volume in the bytes of a .nii or .nii.gz file. Raises what `open_nifti` and `OpenImage.read` raise."""
    image = open_nifti(BytesIO(data), name)
    return image.read(bytearray(image.size_bytes))


def encode_nifti(volume: Volume) -> bytes:
    """The volume as a .nii.gz file, without a time stamp, so that equal volumes give equal bytes."""
    image = nib.Nifti1Image(volume.voxels, volume.affine)
    image.header.set_xyzt_units("mm")
    return igzip.compress(image.to_bytes(), compresslevel=1, mtime=0)


def _checked_offset(header: nib.Nifti1Header, name: str) -> int:
    if header["magic"].item() == header.pair_magic:
        raise MalformedImageError(f"{name}: expected one file, .nii or .nii.gz, found half of a .hdr and .img pair.")
    offset, most = float(header["vox_offset"]), FIRST_VOXEL_BYTE + MAX_EXTENSION_BYTES
    if not FIRST_VOXEL_BYTE <= offset <= most:  # NaN fails as well
        raise MalformedImageError(f"{name}: expected voxels from byte {FIRST_VOXEL_BYTE} to {most}, found {offset:g}.")
    return int(offset)


def _checked_type(header: nib.Nifti1Header, name: str) -> np.dtype[Any]:
    dtype: np.dtype[Any] = header.get_data_dtype()
    if dtype.name not in VOXEL_TYPES:
        raise MalformedImageError(f"{name}: expected integer or real voxels of up to 64 bits, found {dtype}.")
    return dtype


def _checked_shape(header: nib.Nifti1Header, name: str) -> tuple[int, int, int]:
    dimensions = int(header["dim"][0])
    if not 3 <= dimensions <= MAX_DIMENSIONS:
        raise MalformedImageError(f"{name}: expected a three-dimensional image, found {dimensions} dimensions.")
    shape = tuple(int(length) for length in header.get_data_shape())
    if any(length != 1 for length in shape[3:]) or min(shape) < 1:
        raise MalformedImageError(f"{name}: expected a three-dimensional image, found shape {shape}.")
    x, y, z = shape[:3]
    if x * y * z > MAX_VOXELS:
        raise OversizedImageError(f"{name}: expected at most {MAX_VOXELS} voxels, found {x} x {y} x {z}.")
    return x, y, z


def _checked_affine(header: nib.Nifti1Header, name: str) -> NDArray[np.float64]:
    affine = np.asarray(header.get_best_affine(), dtype=np.float64)
    if not np.isfinite(affine).all() or np.linalg.cond(affine[:3, :3]) > MAX_CONDITION:
        raise GeometryError(f"{name}: expected an affine that is finite and invertible, found {affine.tolist()}.")
    spacing_mm = np.linalg.norm(affine[:3, :3], axis=0)
    if spacing_mm.min() < MIN_SPACING_MM or spacing_mm.max() > MAX_SPACING_MM:
        found = " x ".join(f"{length:g}" for length in spacing_mm)
        raise GeometryError(f"{name}: expected voxels of {MIN_SPACING_MM} to {MAX_SPACING_MM} mm, found {found} mm.")
    return affine


def _read_exactly(stream: BinaryIO, count: int) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise EOFError
    return data


@contextmanager
def _translated(name: str) -> Iterator[None]:
    try:
        yield
    except DAMAGE as error:
        raise MalformedImageError(
            f"{name}: expected a whole NIfTI-1 image (.nii or .nii.gz), found damage or another format."
        ) from error
