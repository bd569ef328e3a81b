"""An image that never travels without its affine, and its NIfTI-1 encoding."""

from dataclasses import dataclass
from functools import cached_property
from io import BytesIO, IOBase
from typing import Any, cast

import nibabel as nib
import numpy as np
from isal import igzip, isal_zlib
from nibabel.arrayproxy import ArrayProxy
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from service.segmentation.errors import MalformedImageError, OversizedImageError

MAX_VOXELS = 2**26  # 512 x 512 x 256: four such float32 volumes take 1 GiB

MAX_TRAILING_BYTES = 2**20  # padding that some writers leave behind the voxels

GZIP_MAGIC = b"\x1f\x8b"
DAMAGE = (
    HeaderDataError,
    WrapStructError,
    ImageFileError,
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


def decode_nifti(data: bytes, name: str) -> Volume:
    """The volume in the bytes of a .nii or .nii.gz file; `name` is what messages call it.

    Voxels keep the type of the file, which takes the least memory; float32 where they are scaled, or of 64 bits.
    Raises MalformedImageError or OversizedImageError, both decided on the header, before a voxel is read.
    """
    try:
        # The content decides, not the file name: renamed files are common.
        stream: IOBase = igzip.open(BytesIO(data)) if data.startswith(GZIP_MAGIC) else BytesIO(data)
        image = nib.Nifti1Image.from_stream(stream)
        shape = _checked_shape(image.header, name)
        voxels = _read_voxels(image).reshape(shape)
        affine = np.asarray(image.affine, dtype=np.float64)
        # Only at the end of the stream does gzip compare its checksum, and most damage shows nowhere else.
        if len(stream.read(MAX_TRAILING_BYTES + 1)) > MAX_TRAILING_BYTES:
            raise ValueError("more bytes than the image has")
    except DAMAGE as error:
        raise MalformedImageError(
            f"{name}: expected a whole NIfTI-1 image (.nii or .nii.gz), found damage or another format."
        ) from error
    return Volume(voxels, affine)


def _read_voxels(image: nib.Nifti1Image) -> NDArray[np.generic]:
    proxy = cast(ArrayProxy, image.dataobj)
    stored: NDArray[Any] = proxy.get_unscaled()
    if (proxy.slope, proxy.inter) != (1, 0):
        return stored.astype(np.float32) * np.float32(proxy.slope) + np.float32(proxy.inter)
    return stored.astype(np.float32) if stored.itemsize > 4 else stored


def encode_nifti(volume: Volume) -> bytes:
    """The volume as a .nii.gz file, without a time stamp, so that equal volumes give equal bytes."""
    image = nib.Nifti1Image(volume.voxels, volume.affine)
    image.header.set_xyzt_units("mm")
    return igzip.compress(image.to_bytes(), compresslevel=1, mtime=0)


def _checked_shape(header: nib.Nifti1Header, name: str) -> tuple[int, int, int]:
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf":
        raise MalformedImageError(f"{name}: expected integer or real voxels, found {dtype}.")
    shape = header.get_data_shape()
    if len(shape) < 3 or any(length != 1 for length in shape[3:]) or min(shape) < 1:
        raise MalformedImageError(f"{name}: expected a three-dimensional image, found shape {shape}.")
    x, y, z = (int(length) for length in shape[:3])
    if x * y * z > MAX_VOXELS:
        raise OversizedImageError(f"{name}: expected at most {MAX_VOXELS} voxels, found {x} x {y} x {z}.")
    return x, y, z
