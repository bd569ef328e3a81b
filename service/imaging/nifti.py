"""Reading headers of NIfTI-1 and NIfTI-2, and writing NIfTI-1."""

from collections.abc import Mapping
from typing import Any, BinaryIO

import nibabel as nib
from isal import igzip

from service.imaging.errors import MalformedImageError
from service.imaging.header_checks import checked_grid, checked_type
from service.imaging.open_image import MAX_HEADER_BYTES, OpenImage, read_exactly
from service.imaging.volume import Volume

SIZE_FIELD_BYTES = 4  # the header begins with its own size, in the byte order of the file
HEADER_TYPES: Mapping[int, Any] = {header.sizeof_hdr: header for header in (nib.Nifti1Header, nib.Nifti2Header)}
MAX_DIMENSIONS = 7


def header_size(head: bytes) -> int | None:
    """Size of the header that begins with these bytes; None if they do not begin a NIfTI header."""
    sizes = {int.from_bytes(head[:SIZE_FIELD_BYTES], order) for order in ("little", "big")}
    return next(iter(sizes & HEADER_TYPES.keys()), None)


def read_nifti(size: int, stream: BinaryIO, second: BinaryIO | None, name: str) -> OpenImage:
    """Read a header of this size; `second` is the stream of the .img file of a .hdr and .img pair.

    Raises MalformedImageError, OversizedImageError, GeometryError, or one of READ_ERRORS.
    """
    header = HEADER_TYPES[size](read_exactly(stream, size))
    magic = header["magic"].item()
    if magic == header.pair_magic and not second:
        raise MalformedImageError(f"{name}: expected both files of a .hdr and .img pair, found one of them.")
    voxels = second if magic == header.pair_magic and second else stream
    _skip_to_voxels(header, voxels, size if voxels is stream else 0, name)
    dimensions = int(header["dim"][0])
    if not 0 < dimensions <= MAX_DIMENSIONS:
        raise MalformedImageError(f"{name}: expected a three-dimensional image, found {dimensions} dimensions.")
    grid = checked_grid(header.get_data_shape(), header.get_best_affine(), name)
    slope, intercept = header.get_slope_inter()
    scaling = None if slope is None or (slope, intercept) == (1, 0) else (slope, intercept)
    stored_type = checked_type(header.get_data_dtype(), name)
    return OpenImage(name, voxels, grid, stored_type, scaling)


def _skip_to_voxels(header: nib.Nifti1Header, stream: BinaryIO, position: int, name: str) -> None:
    first = 0 if position == 0 else position + SIZE_FIELD_BYTES  # every single file has four bytes about extensions
    offset, most = float(header["vox_offset"]), first + MAX_HEADER_BYTES
    if not first <= offset <= most:  # rejects NaN as well
        raise MalformedImageError(f"{name}: expected voxels from byte {first} to {most}, found {offset:g}.")
    read_exactly(stream, int(offset) - position)


def encode_nifti(volume: Volume, slope: float = 1.0) -> bytes:
    """The volume as a .nii.gz file without a time stamp: equal volumes give equal bytes.

    Readers multiply the stored voxels by the slope.
    """
    image = nib.Nifti1Image(volume.voxels, volume.affine)
    image.header.set_xyzt_units("mm")
    image.header.set_slope_inter(slope, 0)
    return igzip.compress(image.to_bytes(), compresslevel=1, mtime=0)
