"""The files of an upload: separate files, or entries of a zip in which nothing is trusted."""

import re
import stat
import struct
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from io import BufferedReader, RawIOBase
from pathlib import Path
from typing import IO, Any, BinaryIO, cast
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, LargeZipFile, ZipFile, ZipInfo

from service.errors import BrokenArchiveError, TooLargeError, UnsafeArchiveError
from service.imaging.open_image import MAX_FILE_BYTES
from service.settings import MIB

ZIP_NAME = "file"  # file name of an upload's zip on disk; other files are named by their modality's suffix

# Limits are absolute. A limit on the compression ratio would reject legitimate masks, which reach 162:1.
MAX_ENTRIES = 10_000  # a DICOM study has a file for each slice of each series
MAX_NAME_CHARACTERS = 500
MAX_READ_BYTES = (
    4 * MIB
)  # per call: zipfile reads the central directory in one call, of whatever length the file claims

LOCAL_HEADER_BYTES = 30  # before an entry's name and data
ENCRYPTED_FLAGS = 0x01 | 0x40 | 0x2000  # data encryption, strong encryption, encrypted central directory
OUTSIDE = re.compile(r"[A-Za-z]:|(.*[/\\])?\.\.([/\\]|$)", re.DOTALL)  # a drive, or a way out of the archive

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
def open_upload(folder: Path, max_unpacked_mib: int) -> Iterator[Mapping[str, BinaryIO]]:
    """The files of an upload in a folder, by file name. Raises like `open_zip`, and OSError."""
    with ExitStack() as stack:
        if (path := folder / ZIP_NAME).exists():
            yield stack.enter_context(open_zip(stack.enter_context(path.open("rb")), max_unpacked_mib))
        else:
            yield {f"{part.name}.nii": stack.enter_context(part.open("rb")) for part in folder.iterdir()}


@contextmanager
def open_zip(file: BinaryIO, max_unpacked_mib: int) -> Iterator["ZipFiles"]:
    """The files in a zip, by name.

    Raises BrokenArchiveError, also while a file is read; UnsafeArchiveError when a file is opened; and TooLargeError.
    """
    with ExitStack() as stack:
        with _broken_archive_errors():
            archive = stack.enter_context(ZipFile(cast(IO[bytes], _ShortReads(file))))
        if (count := len(archive.infolist())) > MAX_ENTRIES:
            raise TooLargeError(f"Archive: expected at most {MAX_ENTRIES} entries, found {count}.")
        yield ZipFiles(archive, max_unpacked_mib)


class ZipFiles(Mapping[str, BinaryIO]):
    """The files in a zip by name. Each is checked and opened when it is accessed; others are neither."""

    def __init__(self, archive: ZipFile, max_unpacked_mib: int) -> None:
        self._archive, self._max_unpacked_mib = archive, max_unpacked_mib
        entries = [entry for entry in archive.infolist() if not entry.filename.endswith("/")]
        self._entries = {entry.filename: entry for entry in entries}
        self._counts = Counter(entry.filename for entry in entries)
        self._overlapping = _overlapping_entries(archive.infolist())
        self._opened: set[str] = set()
        self._opened_bytes = 0

    def __getitem__(self, name: str) -> BinaryIO:
        entry = self._entries[name]
        if name not in self._opened:
            self._check(entry)
            self._opened.add(name)
            self._opened_bytes += entry.file_size
            self._check_size(entry.file_size)
        with _broken_archive_errors():
            return cast(BinaryIO, BufferedReader(_EntryReader(self._archive.open(entry), entry.file_size)))

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def _check(self, entry: ZipInfo) -> None:
        _check_entry(entry)
        if self._counts[entry.filename] > 1:
            raise UnsafeArchiveError("Archive: expected unique entry names, found a duplicate.")
        if entry.filename in self._overlapping:
            raise UnsafeArchiveError("Archive: expected entries at separate offsets, found two that overlap.")

    def _check_size(self, declared: int) -> None:
        """Reject too large a size, of one entry or in total. An entry is never unpacked beyond its declared size."""
        if declared > MAX_FILE_BYTES:
            raise TooLargeError(f"Archive: expected images of at most {MAX_FILE_BYTES} bytes, found {declared}.")
        if self._opened_bytes > self._max_unpacked_mib * MIB:
            found = self._opened_bytes // MIB
            raise TooLargeError(f"Archive: expected at most {self._max_unpacked_mib} MiB unpacked, found {found}.")


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

    name = ""  # pydicom asks for it

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


def _overlapping_entries(entries: Sequence[ZipInfo]) -> set[str]:
    """Names of the entries that share bytes with another one."""
    by_offset = sorted(entries, key=lambda entry: entry.header_offset)
    found: set[str] = set()
    reached, last = 0, ""
    for entry in by_offset:
        if entry.header_offset < reached:
            found |= {last, entry.filename}
        end = entry.header_offset + LOCAL_HEADER_BYTES + entry.compress_size
        if end > reached:
            reached, last = end, entry.filename
    return found


def _check_entry(entry: ZipInfo) -> None:
    name, kind = entry.filename, stat.S_IFMT(entry.external_attr >> 16)
    if len(name) > MAX_NAME_CHARACTERS:
        raise TooLargeError(f"Archive: expected names of at most {MAX_NAME_CHARACTERS} characters, found {len(name)}.")
    if OUTSIDE.match(name):
        raise UnsafeArchiveError("Archive: expected relative paths, found one that leads out of the archive.")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise UnsafeArchiveError("Archive: expected files and folders, found a link or a device.")
    if entry.flag_bits & ENCRYPTED_FLAGS:
        raise BrokenArchiveError("Archive: expected no password, found an encrypted entry.")
    if entry.compress_type not in (ZIP_STORED, ZIP_DEFLATED):  # zipfile decompresses others without a limit
        raise BrokenArchiveError("Archive: expected stored or deflated entries, found another compression method.")


@contextmanager
def _broken_archive_errors() -> Iterator[None]:
    """Translate the errors of damaged zips."""
    try:
        yield
    except READ_ERRORS as error:
        raise BrokenArchiveError("Archive: expected a whole zip, found damage or another format.") from error
