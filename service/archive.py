"""The NIfTI files of an upload, opened: separate files, or entries of a zip that is trusted in nothing."""

import re
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BufferedReader, RawIOBase
from pathlib import Path
from typing import IO, Any, BinaryIO, cast
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, LargeZipFile, ZipFile, ZipInfo

from service.errors import BrokenArchiveError, TooLargeError, UnsafeArchiveError
from service.segmentation.case import assign_roles, is_nifti_name
from service.segmentation.volume import MAX_FILE_BYTES
from service.settings import MIB

ZIP_PART = "file"  # what an upload's zip is called on disk; other files are called as their modality's ending

# Limits are absolute. A ratio of compression tells nothing: honest masks reach 162:1.
MAX_ENTRIES = 1000
MAX_NAME_CHARACTERS = 500
MAX_READ_BYTES = MIB  # at once: the list of entries is read as one piece, whatever length the file claims for it

LOCAL_HEADER_BYTES = 30  # before an entry's name and data
ENCRYPTED_FLAGS = 0x01 | 0x40 | 0x2000  # the data, strongly, and the list of entries too
ABSOLUTE = re.compile(r"[/\\]|[A-Za-z]:")
NESTED = re.compile(r"\.(zip|7z|rar|tar|tgz|bz2|xz|zst|(?<!\.nii\.)gz)$", re.IGNORECASE)

DAMAGE = (
    BadZipFile,
    LargeZipFile,
    NotImplementedError,  # an entry that asks for a later version of the format, or is a patch to another
    struct.error,
    zlib.error,
    EOFError,
    OSError,
    ValueError,
    OverflowError,
)


@contextmanager
def open_upload(folder: Path, max_unpacked_mib: int) -> Iterator[dict[str, BinaryIO]]:
    """The NIfTI files of an upload in a folder by name, to be read inside. Raises as `open_zip` does, and OSError."""
    with ExitStack() as stack:
        if (path := folder / ZIP_PART).exists():
            yield stack.enter_context(open_zip(stack.enter_context(path.open("rb")), max_unpacked_mib))
        else:
            yield {f"{part.name}.nii": stack.enter_context(part.open("rb")) for part in folder.iterdir()}


@contextmanager
def open_zip(file: BinaryIO, max_unpacked_mib: int) -> Iterator[dict[str, BinaryIO]]:
    """The files of the case by name, to be read inside; entries that are no image of the case are never unpacked.

    Raises BrokenArchiveError, here or as a file is read; UnsafeArchiveError, TooLargeError, or ModalityError for names
    that do not make a case.
    """
    with ExitStack() as stack:
        with _translated():
            archive = stack.enter_context(ZipFile(cast(IO[bytes], _ShortReads(file))))
        entries = {entry.filename: entry for entry in _checked_entries(archive)}
        images = assign_roles(filter(is_nifti_name, entries)).values()
        _check_sizes([entries[name] for name in images], max_unpacked_mib)
        with _translated():
            files = {name: stack.enter_context(archive.open(name)) for name in images}
        yield {name: BufferedReader(_Entry(file, entries[name].file_size)) for name, file in files.items()}


class _ShortReads:
    """A file of which nobody reads much at once."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        """Read as a file does. Raises TooLargeError."""
        if size > MAX_READ_BYTES:
            raise TooLargeError(f"Archive: expected at most {MAX_ENTRIES} entries, found a longer list of them.")
        return self._file.read(size)


class _Entry(RawIOBase):
    """An entry of a zip, whose damage shows only as it is read."""

    def __init__(self, entry: IO[bytes], size: int) -> None:
        self._entry, self._size = entry, size

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read as a file does. Raises BrokenArchiveError."""
        with _translated():
            data = self._entry.read(min(len(buffer), MAX_READ_BYTES))
            if not data and self._entry.tell() != self._size:
                raise EOFError
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place. Raises BrokenArchiveError."""
        with _translated():
            return self._entry.seek(offset, whence)


def _checked_entries(archive: ZipFile) -> list[ZipInfo]:
    entries = archive.infolist()
    if len(entries) > MAX_ENTRIES:
        raise TooLargeError(f"Archive: expected at most {MAX_ENTRIES} entries, found {len(entries)}.")
    if len({entry.filename for entry in entries}) < len(entries):
        raise UnsafeArchiveError("Archive: expected entries of different names, found two of one.")
    for entry in entries:
        _check_entry(entry)
    in_order = sorted(entries, key=lambda entry: entry.header_offset)
    ends = [entry.header_offset + LOCAL_HEADER_BYTES + entry.compress_size for entry in in_order]
    if any(end > entry.header_offset for end, entry in zip(ends, in_order[1:], strict=False)):
        raise UnsafeArchiveError("Archive: expected each entry in a place of its own, found two that overlap.")
    return entries


def _check_entry(entry: ZipInfo) -> None:
    name, kind = entry.filename, stat.S_IFMT(entry.external_attr >> 16)
    if len(name) > MAX_NAME_CHARACTERS:
        raise TooLargeError(f"Archive: expected names of at most {MAX_NAME_CHARACTERS} characters, found {len(name)}.")
    if ABSOLUTE.match(name) or ".." in re.split(r"[/\\]", name):
        raise UnsafeArchiveError("Archive: expected names within it, found one that leads out of it.")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise UnsafeArchiveError("Archive: expected files and folders, found a link or a device.")
    if NESTED.search(name):
        raise UnsafeArchiveError("Archive: expected NIfTI images, found an archive within the archive.")
    if entry.flag_bits & ENCRYPTED_FLAGS:
        raise BrokenArchiveError("Archive: expected one without a password, found an encrypted entry.")
    if entry.compress_type not in (ZIP_STORED, ZIP_DEFLATED):  # zipfile inflates others without a bound
        raise BrokenArchiveError("Archive: expected entries that are stored or deflated, found another compression.")


def _check_sizes(images: list[ZipInfo], max_unpacked_mib: int) -> None:
    """Refuse what claims to be too large; of one that claims less than it holds no more than that is unpacked."""
    if (largest := max(entry.file_size for entry in images)) > MAX_FILE_BYTES:
        raise TooLargeError(f"Archive: expected images of at most {MAX_FILE_BYTES} bytes, found {largest}.")
    if (total := sum(entry.file_size for entry in images)) > max_unpacked_mib * MIB:
        raise TooLargeError(f"Archive: expected at most {max_unpacked_mib} MiB unpacked, found {total // MIB}.")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except DAMAGE as error:
        raise BrokenArchiveError("Archive: expected a whole zip, found damage or another file.") from error
