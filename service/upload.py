"""The body of POST /segment: a zip, or multipart with one zip or one part a modality."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from tempfile import SpooledTemporaryFile
from typing import Any, BinaryIO, cast

from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from service.archive import read_zip
from service.errors import UnsupportedMediaTypeError, UploadError
from service.segmentation.case import ROLE_OF_ENDING, role_of

ZIP_PART = "file"
ZIP_TYPES = ("application/zip", "application/x-zip-compressed", "application/octet-stream")
SPOOL_BYTES = 2**20  # beyond this a body is kept on disk, not in memory

Upload = Mapping[str, BinaryIO]  # by part name; a raw zip counts as the part `file`


@asynccontextmanager
async def receive_upload(request: Request) -> AsyncIterator[Upload]:
    """The uploaded files, spooled to disk and gone when the context ends.

    Raises UnsupportedMediaTypeError, UploadError, and TooLargeError from the body limit.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == "multipart/form-data":
        try:
            async with request.form(max_files=len(ROLE_OF_ENDING)) as form:
                yield _files(form)
        except HTTPException as error:  # how Starlette reports a multipart body that it cannot parse
            raise UploadError(f"Multipart body: {error.detail}") from error
    elif media_type in ZIP_TYPES:
        with SpooledTemporaryFile(max_size=SPOOL_BYTES) as spool:
            body = UploadFile(cast(BinaryIO, spool))  # writes to disk in a thread, not in the event loop
            async for chunk in request.stream():
                await body.write(chunk)
            await body.seek(0)
            yield {ZIP_PART: body.file}
    else:
        raise UnsupportedMediaTypeError(
            f"Content-Type: expected application/zip or multipart/form-data, found {media_type or 'none'}."
        )


def unpack(upload: Upload, max_unpacked_mib: int) -> dict[str, bytes]:
    """The NIfTI files of an upload by name, in memory. Raises what read_zip raises."""
    if ZIP_PART in upload:
        return read_zip(upload[ZIP_PART], max_unpacked_mib)
    return {f"{part}.nii": file.read() for part, file in upload.items()}


def _files(form: FormData) -> Upload:
    parts: list[tuple[str, Any]] = form.multi_items()
    names = [name for name, _ in parts]
    by_modality = bool(names) and all(role_of(name) for name in names) and len(set(names)) == len(names)
    if not (names == [ZIP_PART] or by_modality) or not all(isinstance(value, UploadFile) for _, value in parts):
        raise UploadError(
            f"Multipart body: expected one file part {ZIP_PART!r}, or file parts each named once by modality "
            f"({', '.join(ROLE_OF_ENDING)}), found {', '.join(names) or 'no part'}."
        )
    return {name: value.file for name, value in parts}
