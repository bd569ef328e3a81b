"""The body of POST /segment, a zip or multipart with one zip or one part a modality, on its way to the spool."""

from collections.abc import AsyncIterator
from time import monotonic

from anyio import fail_after, to_thread
from python_multipart.multipart import parse_options_header
from starlette.requests import Request

from service.archive import ZIP_PART
from service.body_limit import announced_bytes
from service.body_readers import MultipartReader, SpooledFiles, ZipReader
from service.errors import StalledUploadError, UnsupportedMediaTypeError, UploadError
from service.segmentation.case import ROLE_OF_ENDING
from service.settings import MIB, Settings
from service.spool import Spool

ZIP_TYPES = ("application/zip", "application/x-zip-compressed", "application/octet-stream")
PART_NAMES = (ZIP_PART, *ROLE_OF_ENDING)  # the files of an upload on disk
MIN_BYTES_A_SECOND = 2**14  # on average, but for one pause: who sends less keeps a place from others
PIECE_BYTES = 2**18  # of a body in memory at once


async def receive_upload(request: Request, spool: Spool, job_id: str, settings: Settings) -> str:
    """Write the files of a body into the folder of a job as they arrive; gives a hash of them.

    Raises UnsupportedMediaTypeError, UploadError, StalledUploadError, SpoolError, TooLargeError from the body limit,
    and what Starlette raises where the client hangs up.
    """
    files = SpooledFiles(spool, job_id)
    reader = _reader(request.headers.get("content-type", ""), files)
    announced = announced_bytes(request.headers)
    if announced <= settings.max_upload_mib * MIB:  # of more the body limit will tell
        spool.check_room(announced)
    await to_thread.run_sync(spool.create, job_id)
    async for piece in _pieces(request, settings.upload_pause_s):
        await to_thread.run_sync(reader.write, piece)
    await to_thread.run_sync(reader.end)
    return files.digest


def _reader(content_type: str, files: SpooledFiles) -> ZipReader | MultipartReader:
    media_type, options = parse_options_header(content_type)
    if media_type == b"multipart/form-data":
        if not options.get(b"boundary"):
            raise UploadError("Multipart body: expected a boundary in Content-Type, found none.")
        return MultipartReader(files, options[b"boundary"])
    if media_type.decode("latin-1") in ZIP_TYPES:
        return ZipReader(files)
    raise UnsupportedMediaTypeError(
        "Content-Type: expected application/zip or multipart/form-data, "
        f"found {media_type.decode('latin-1', 'replace') or 'none'}."
    )


async def _pieces(request: Request, pause_s: float) -> AsyncIterator[bytes]:
    """The body in pieces of about PIECE_BYTES. Raises StalledUploadError where little comes, or nothing for a while."""
    chunks = request.stream()
    piece = bytearray()
    started, received = monotonic(), 0
    while True:
        try:
            with fail_after(pause_s):
                chunk = await anext(chunks, None)
        except TimeoutError as error:
            raise StalledUploadError(f"Body: expected more of it within {pause_s:g} s, found nothing.") from error
        piece += chunk or b""
        received += len(chunk or b"")
        if chunk is not None and monotonic() - started - pause_s > received / MIN_BYTES_A_SECOND:
            raise StalledUploadError(f"Body: expected {MIN_BYTES_A_SECOND} bytes of it a second, found fewer.")
        if piece and (chunk is None or len(piece) >= PIECE_BYTES):
            yield bytes(piece)
            piece.clear()
        if chunk is None:
            return
