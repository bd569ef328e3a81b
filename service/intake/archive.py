"""The image files of an upload, opened: separate files, or entries of a zip in which nothing is trusted."""

import re
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BufferedReader, RawIOBase
from itertools import chain
from pathlib import Path
from typing import IO, Any, BinaryIO, cast
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, LargeZipFile, ZipFile, ZipInfo

from service.errors import BrokenArchiveError, TooLargeError, UnsafeArchiveError
from service.imaging.names import assign_roles, is_image_name
from service.imaging.open_image import MAX_FILE_BYTES
from service.settings import MIB

ZIP_NAME = "file"  # file name of an upload's zip on disk; other files are named by their modality's suffix

# Limits are absolute. A limit on the compression ratio would reject legitimate masks, which reach 162:1.
MAX_ENTRIES = 1000
MAX_NAME_CHARACTERS = 500
MAX_READ_BYTES = MIB  # per call: zipfile reads the central directory in one call, of whatever length the file claims

LOCAL_HEADER_BYTES = 30  # before an entry's name and data
ENCRYPTED_FLAGS = 0x01 | 0x40 | 0x2000  # data encryption, strong encryption, encrypted central directory
ABSOLUTE = re.compile(r"[/\\]|[A-Za-z]:")
NESTED = re.compile(r"\.(zip|7z|rar|tar|tgz|bz2|xz|zst|(?<!\.nii\.)(?<!\.hdr\.)(?<!\.img\.)gz)$", re.IGNORECASE)

READ_ERRORS = (
    BadZipFile,
    LargeZipFile,
    NotImplementedError,  # an entry that needs a later version of the format, or a patch entry
    struct.error,
    zlib.error,
    EOFError,
    OSError,
    ValueError,
    OverflowError,
)


@contextmanager
def open_upload(folder: Path, max_unpacked_mib: int) -> Iterator[dict[str, BinaryIO]]:
    """Open the image files of an upload in a folder; yields them by file name. Raises like `open_zip`, and OSError."""
    with ExitStack() as stack:
        if (path := folder / ZIP_NAME).exists():
            yield stack.enter_context(open_zip(stack.enter_context(path.open("rb")), max_unpacked_mib))
        else:
            yield {f"{part.name}.nii": stack.enter_context(part.open("rb")) for part in folder.iterdir()}


@contextmanager
def open_zip(file: BinaryIO, max_unpacked_mib: int) -> Iterator[dict[str, BinaryIO]]:
    """Open the images of the case in a zip; yields them by file name. Other entries are never unpacked.

    Raises BrokenArchiveError, also while a file is read; UnsafeArchiveError; TooLargeError; and ModalityError for names
    that do not form a case.
    """
    with ExitStack() as stack:
        with _broken_archive_errors():
            archive = stack.enter_context(ZipFile(cast(IO[bytes], _ShortReads(file))))
        entries = {entry.filename: entry for entry in _checked_entries(archive)}
        images = list(chain(*assign_roles(filter(is_image_name, entries)).values()))
        _check_sizes([entries[name] for name in images], max_unpacked_mib)
        with _broken_archive_errors():
            files = {name: stack.enter_context(archive.open(name)) for name in images}
        yield {name: BufferedReader(_EntryReader(file, entries[name].file_size)) for name, file in files.items()}


class _ShortReads:
    """A file that rejects reads of more than MAX_READ_BYTES."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        """Read bytes. Raises TooLargeError."""
        if size > MAX_READ_BYTES:
            raise TooLargeError(f"Archive: expected at most {MAX_ENTRIES} entries, found a longer list.")
        return self._file.read(size)


class _EntryReader(RawIOBase):
    """An entry of a zip; damage is detected only while it is read."""

    def __init__(self, entry: IO[bytes], size: int) -> None:
        self._entry, self._size = entry, size

    def readable(self) -> bool:
        """Always true."""
        return True

    def seekable(self) -> bool:
        """Always true."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer. Raises BrokenArchiveError."""
        with _broken_archive_errors():
            data = self._entry.read(min(len(buffer), MAX_READ_BYTES))
            if not data and self._entry.tell() != self._size:
                raise EOFError
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Set the position. Raises BrokenArchiveError."""
        with _broken_archive_errors():
            return self._entry.seek(offset, whence)


def _checked_entries(archive: ZipFile) -> list[ZipInfo]:
    entries = archive.infolist()
    if len(entries) > MAX_ENTRIES:
        raise TooLargeError(f"Archive: expected at most {MAX_ENTRIES} entries, found {len(entries)}.")
    if len({entry.filename for entry in entries}) < len(entries):
        raise UnsafeArchiveError("Archive: expected unique entry names, found a duplicate.")
    for entry in entries:
        _check_entry(entry)
    by_offset = sorted(entries, key=lambda entry: entry.header_offset)
    ends = [entry.header_offset + LOCAL_HEADER_BYTES + entry.compress_size for entry in by_offset]
    if any(end > entry.header_offset for end, entry in zip(ends, by_offset[1:], strict=False)):
        raise UnsafeArchiveError("Archive: expected entries at separate offsets, found two that overlap.")
    return entries


def _check_entry(entry: ZipInfo) -> None:
    name, kind = entry.filename, stat.S_IFMT(entry.external_attr >> 16)
    if len(name) > MAX_NAME_CHARACTERS:
        raise TooLargeError(f"Archive: expected names of at most {MAX_NAME_CHARACTERS} characters, found {len(name)}.")
    if ABSOLUTE.match(name) or ".." in re.split(r"[/\\]", name):
        raise UnsafeArchiveError("Archive: expected relative paths, found one that leads out of the archive.")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise UnsafeArchiveError("Archive: expected files and folders, found a link or a device.")
    if NESTED.search(name):
        raise UnsafeArchiveError("Archive: expected images, found an archive within the archive.")
    if entry.flag_bits & ENCRYPTED_FLAGS:
        raise BrokenArchiveError("Archive: expected no password, found an encrypted entry.")
    if entry.compress_type not in (ZIP_STORED, ZIP_DEFLATED):  # zipfile decompresses others without a limit
        raise BrokenArchiveError("Archive: expected stored or deflated entries, found another compression method.")


def _check_sizes(images: list[ZipInfo], max_unpacked_mib: int) -> None:
    """Reject entries that declare too large a size. An entry is never unpacked beyond its declared size."""
    if (largest := max(entry.file_size for entry in images)) > MAX_FILE_BYTES:
        raise TooLargeError(f"Archive: expected images of at most {MAX_FILE_BYTES} bytes, found {largest}.")
    if (total := sum(entry.file_size for entry in images)) > max_unpacked_mib * MIB:
        raise TooLargeError(f"Archive: expected at most {max_unpacked_mib} MiB unpacked, found {total // MIB}.")


@contextmanager
def _broken_archive_errors() -> Iterator[None]:
    """Translate the errors of damaged zips."""
    try:
        yield
    except READ_ERRORS as error:
        raise BrokenArchiveError("Archive: expected a whole zip, found damage or another format.") from error
