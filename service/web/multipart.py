"""Reading a request body, a zip or multipart, chunk by chunk into the files of a case."""

from collections.abc import Iterator
from contextlib import contextmanager

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from service.errors import UnsupportedMediaTypeError, UploadError
from service.imaging.names import ROLE_OF_SUFFIX, role_of, suffix_of
from service.intake.archive import ZIP_NAME
from service.jobs.case_files import CaseFiles
from service.jobs.study_zip import StudyZip

ZIP_TYPES = ("application/zip", "application/x-zip-compressed", "application/octet-stream")
DICOM_NAME = "dicom"  # the name of every part that is a file of a DICOM study
ZIP_START = b"PK"
MAX_PREAMBLE_BYTES = 2**16  # text before the first boundary (RFC 2046, section 5.1.1)


class ZipReader:
    """A body that is one zip. A body of another media type is accepted as well if it begins like a zip."""

    def __init__(self, files: CaseFiles, media_type: str) -> None:
        self._files, self._media_type = files, media_type
        self._has_begun = False

    def write(self, chunk: bytes) -> None:
        """Process the next chunk of the body. Raises UnsupportedMediaTypeError."""
        if not self._has_begun:
            self._check_type(chunk)
            self._files.begin(ZIP_NAME)
        self._has_begun = True
        self._files.append(ZIP_NAME, chunk)

    def end(self) -> None:
        """Process the end of the body. Raises UploadError or UnsupportedMediaTypeError if the body was empty."""
        if not self._has_begun:
            self._check_type(b"")
            raise UploadError("Body: expected a zip, found nothing.")

    def _check_type(self, start: bytes) -> None:
        if self._media_type not in ZIP_TYPES and not start.startswith(ZIP_START):
            raise UnsupportedMediaTypeError(
                f"Content-Type: expected application/zip or multipart/form-data, found {self._media_type or 'none'}."
            )


class MultipartReader:
    """A body of parts: one zip, one file per modality, or the files of a DICOM study."""

    def __init__(self, files: CaseFiles, boundary: bytes) -> None:
        self._files = files
        self._names: list[str] = []  # from a closed set, as they appear in messages and file names
        self._study: StudyZip | None = None
        self._preamble: bytes | None = b""  # what has arrived before the first boundary; None once that was found
        self._boundary = b"--" + boundary
        self._is_ignored = False  # whether the current part is not of the case
        self._header_name, self._header_value, self._disposition = bytearray(), bytearray(), bytearray()
        self._data = bytearray()
        self._is_complete = False
        with _upload_errors():
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
                    "on_part_end": self._end_file,
                    "on_end": self._complete,
                },
            )

    def write(self, chunk: bytes) -> None:
        """Process the next chunk of the body. Raises UploadError."""
        with _upload_errors():
            self._parser.write(self._without_preamble(chunk))
        if self._data:
            self._flush()

    def end(self) -> None:
        """Process the end of the body. Raises UploadError if it is incomplete or has no part."""
        if not self._is_complete:
            raise UploadError("Multipart body: expected a closing boundary, found none.")
        if not self._names:
            raise _unusable(self._names)
        if self._study:
            self._study.end()

    def _without_preamble(self, chunk: bytes) -> bytes:
        if self._preamble is None:
            return chunk
        self._preamble += chunk
        start = 0 if self._preamble.startswith(self._boundary) else self._preamble.find(b"\n" + self._boundary) + 1
        if start == 0 and not self._preamble.startswith(self._boundary):
            if len(self._preamble) > MAX_PREAMBLE_BYTES:
                raise FormParserError
            return b""
        body, self._preamble = self._preamble[start:], None
        return body

    def _begin_header(self) -> None:
        self._header_name.clear()
        self._header_value.clear()

    def _end_header(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition[:] = self._header_value

    def _begin_file(self) -> None:
        _, options = parse_options_header(self._disposition.decode("latin-1"))
        name = options.get(b"name", b"").decode("utf-8", "replace")
        is_file = b"filename" in self._disposition.lower()  # `filename*` is not among the options
        self._is_ignored = not is_file and not (name in (ZIP_NAME, DICOM_NAME) or role_of(name))
        if self._is_ignored:
            return
        name = _file_name(name, options.get(b"filename", b"").decode("utf-8", "replace"))
        if not is_file:
            name += " (a value, not a file)"
        if not (name == DICOM_NAME and self._study):
            self._names.append(name)
        if not _can_form_a_case(self._names):
            raise _unusable(self._names)
        if name != DICOM_NAME:
            self._files.begin(name)
            return
        self._study = self._study or StudyZip(self._files)
        self._study.begin_entry()

    def _flush(self) -> None:
        """Write the buffered data of the current file; called at the end of each part and of each chunk."""
        if self._study and not self._is_ignored:
            self._study.append(bytes(self._data))
        elif not self._is_ignored:
            self._files.append(self._names[-1], bytes(self._data))
        self._data.clear()

    def _end_file(self) -> None:
        self._flush()
        if self._study and not self._is_ignored:
            self._study.end_entry()

    def _complete(self) -> None:
        self._is_complete = True


@contextmanager
def _upload_errors() -> Iterator[None]:
    """Translate errors of the parser."""
    try:
        yield
    except FormParserError as error:
        raise UploadError("Multipart body: expected parts between boundaries, found something else.") from error


def _file_name(part_name: str, file_name: str) -> str:
    """What the file of a part is called: by the role that its name, or else its file name, ends in; otherwise a zip.

    Neither name is kept: both may contain the name of a patient.
    """
    if part_name == DICOM_NAME:
        return DICOM_NAME
    return next((suffix_of(name) for name in (part_name, file_name) if role_of(name)), ZIP_NAME)


def _can_form_a_case(names: list[str]) -> bool:
    """Whether part names are one zip, one study, or modalities without duplicates."""
    return names in ([ZIP_NAME], [DICOM_NAME]) or (all(map(role_of, names)) and len(set(names)) == len(names))


def _unusable(names: list[str]) -> UploadError:
    return UploadError(
        f"Multipart body: expected one file part {ZIP_NAME!r}, one file part per modality "
        f"({', '.join(ROLE_OF_SUFFIX)}), or file parts {DICOM_NAME!r}, found {', '.join(names) or 'no part'}."
    )
