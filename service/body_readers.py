"""The two forms of a body, a zip or parts, read piece by piece into the folder of a job."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from service.archive import ZIP_PART
from service.errors import UploadError
from service.segmentation.case import ROLE_OF_ENDING, ending_of, role_of
from service.spool import Spool

UNKNOWN = "another name"  # in place of a part's name in messages: it may be a patient's


class SpooledFiles:
    """The files of an upload, written to a job's folder, named by their parts: `file`, or the modality's ending."""

    def __init__(self, spool: Spool, job_id: str) -> None:
        self._spool, self._job_id = spool, job_id
        self._hashes: dict[str, Any] = {}  # by part, in the order of arrival

    def begin(self, name: str) -> None:
        """Start a file."""
        self._hashes[name] = sha256()
        self._spool.append(self._job_id, name, b"")

    def append(self, name: str, data: bytes) -> None:
        """Add to a file. Raises SpoolError."""
        self._spool.append(self._job_id, name, data)
        self._hashes[name].update(data)

    @property
    def digest(self) -> str:
        """One hash over the names and contents, the same in whatever form and order they came."""
        return _digest({name: contents.hexdigest() for name, contents in self._hashes.items()})


class ZipReader:
    """A body that is one zip."""

    def __init__(self, files: SpooledFiles) -> None:
        self._files = files
        self._begun = False

    def write(self, piece: bytes) -> None:
        """Take the next piece of the body."""
        if not self._begun:
            self._files.begin(ZIP_PART)
        self._begun = True
        self._files.append(ZIP_PART, piece)

    def end(self) -> None:
        """Take the end of the body. Raises UploadError where nothing came before it."""
        if not self._begun:
            raise UploadError("Body: expected a zip, found nothing.")


class MultipartReader:
    """A body of parts: one zip, or one file a modality."""

    def __init__(self, files: SpooledFiles, boundary: bytes) -> None:
        self._files = files
        self._names: list[str] = []  # of a closed set, whatever was given: they go into messages, and onto the disk
        self._header_name, self._header_value, self._disposition = bytearray(), bytearray(), bytearray()
        self._data = bytearray()
        self._whole = False
        with _translated():
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._disposition.clear,
                    "on_header_begin": self._begin_header,
                    "on_header_field": lambda data, start, end: self._header_name.extend(data[start:end]),
                    "on_header_value": lambda data, start, end: self._header_value.extend(data[start:end]),
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._begin_file,
                    "on_part_data": lambda data, start, end: self._data.extend(data[start:end]),
                    "on_part_end": self._flush,
                    "on_end": self._note_end,
                },
            )

    def write(self, piece: bytes) -> None:
        """Take the next piece of the body. Raises UploadError."""
        with _translated():
            self._parser.write(piece)
        if self._data:
            self._flush()

    def end(self) -> None:
        """Take the end of the body. Raises UploadError where it is cut off, or made no case."""
        if not self._whole:
            raise UploadError("Multipart body: expected a closing boundary, found none.")
        if not self._names:
            raise _unusable(self._names)

    def _begin_header(self) -> None:
        self._header_name.clear()
        self._header_value.clear()

    def _end_header(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition[:] = self._header_value

    def _begin_file(self) -> None:
        _, options = parse_options_header(self._disposition.decode("latin-1"))
        self._names.append(_known_name(options.get(b"name", b"").decode("utf-8", "replace")))
        if b"filename" not in options:
            self._names[-1] += " (a value, not a file)"
        if not _make_a_case(self._names):
            raise _unusable(self._names)
        self._files.begin(self._names[-1])

    def _flush(self) -> None:
        """Write what came of the current file. Called before the next one begins, and once a piece."""
        self._files.append(self._names[-1], bytes(self._data))
        self._data.clear()

    def _note_end(self) -> None:
        self._whole = True


def digest_of(folder: Path) -> str:
    """The hash of the files that are in a folder now, as `SpooledFiles.digest` has it. Raises OSError."""
    hashes = {}
    for path in folder.iterdir():
        with path.open("rb") as file:
            hashes[path.name] = file_digest(file, "sha256").hexdigest()
    return _digest(hashes)


def _digest(hashes: Mapping[str, str]) -> str:
    lines = [f"{name} {contents}\n" for name, contents in sorted(hashes.items())]
    return sha256("".join(lines).encode()).hexdigest()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except FormParserError as error:
        raise UploadError("Multipart body: expected parts between boundaries, found something else.") from error


def _known_name(name: str) -> str:
    """The name of a part where it is one that may be, of a modality its ending alone; UNKNOWN of any other."""
    return name if name == ZIP_PART else ending_of(name) if role_of(name) else UNKNOWN


def _make_a_case(names: list[str]) -> bool:
    """Whether part names are one zip, or modalities, each once."""
    return names == [ZIP_PART] or (all(map(role_of, names)) and len(set(names)) == len(names))


def _unusable(names: list[str]) -> UploadError:
    return UploadError(
        f"Multipart body: expected one file part {ZIP_PART!r}, or file parts each named once by modality "
        f"({', '.join(ROLE_OF_ENDING)}), found {', '.join(names) or 'no part'}."
    )
