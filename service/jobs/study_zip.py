"""The files of a DICOM study that arrive one by one, written as entries of the zip that a study is elsewhere."""

from typing import IO, cast
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from service.errors import TooLargeError
from service.intake.archive import MAX_ENTRIES, ZIP_NAME
from service.jobs.case_files import CaseFiles

BUFFER_BYTES = 2**18  # written to the disk at once


class StudyZip:
    """Writes a zip while its entries arrive. They are numbered: the names of uploaded files may contain a patient's."""

    def __init__(self, files: CaseFiles) -> None:
        files.begin(ZIP_NAME)
        self._output = _BufferedOutput(files)
        self._archive = ZipFile(cast(IO[bytes], self._output), "w", ZIP_STORED)
        self._count = 0

    def begin_entry(self) -> None:
        """Start the next file. Raises TooLargeError if there are too many."""
        if self._count == MAX_ENTRIES:
            raise TooLargeError(f"Multipart body: expected at most {MAX_ENTRIES} files, found more.")
        self._entry = self._archive.open(ZipInfo(str(self._count)), "w")
        self._count += 1

    def append(self, data: bytes) -> None:
        """Append to the file. Raises SpoolError."""
        self._entry.write(data)

    def end_entry(self) -> None:
        """Complete the file. Raises SpoolError."""
        self._entry.close()

    def end(self) -> None:
        """Complete the zip. Raises SpoolError."""
        self._archive.close()
        self._output.close()


class _BufferedOutput:
    """What zipfile needs of a file that it writes from start to end."""

    def __init__(self, files: CaseFiles) -> None:
        self._files, self._buffer = files, bytearray()

    def write(self, data: bytes) -> int:
        """Append to the zip. Raises SpoolError."""
        self._buffer += data
        if len(self._buffer) >= BUFFER_BYTES:
            self._files.append(ZIP_NAME, bytes(self._buffer))
            self._buffer.clear()
        return len(data)

    def flush(self) -> None:
        """Nothing: zipfile calls it after each entry."""

    def close(self) -> None:
        """Write what is left. Raises SpoolError."""
        self._files.append(ZIP_NAME, bytes(self._buffer))
