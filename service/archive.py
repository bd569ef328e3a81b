"""The NIfTI files of a case from a zip archive."""

import lzma
import zlib
from typing import BinaryIO
from zipfile import BadZipFile, LargeZipFile, ZipFile

from service.errors import BrokenArchiveError, TooLargeError
from service.segmentation.case import assign_roles, is_nifti_name
from service.settings import MIB

# zipfile raises RuntimeError for an encrypted entry, NotImplementedError for a compression that it lacks.
DAMAGE = (
    BadZipFile,
    LargeZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    ValueError,
    RuntimeError,
    NotImplementedError,
)


def read_zip(file: BinaryIO, max_unpacked_mib: int) -> dict[str, bytes]:
    """The files of the case by name, in memory; entries that are no image of the case are never unpacked.

    Raises BrokenArchiveError, TooLargeError, or ModalityError for names that do not make a case.
    """
    try:
        with ZipFile(file) as archive:
            images = [name for name in archive.namelist() if is_nifti_name(name)]
            return _read_entries(archive, list(assign_roles(images).values()), max_unpacked_mib)
    except DAMAGE as error:
        raise BrokenArchiveError(
            "Archive: expected a whole zip without a password, found damage or another file."
        ) from error


def _read_entries(archive: ZipFile, names: list[str], max_unpacked_mib: int) -> dict[str, bytes]:
    left = max_unpacked_mib * MIB
    files = {}
    for name in names:
        with archive.open(name) as entry:
            files[name] = entry.read(left + 1)  # bounded: the size that an entry states may be a lie
        left -= len(files[name])
        if left < 0:
            raise TooLargeError(f"Archive: expected at most {max_unpacked_mib} MiB unpacked, found more.")
    return files
