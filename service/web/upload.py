"""Receiving the body of POST /segment into the spool."""

from collections.abc import AsyncIterator
from time import monotonic

from anyio import fail_after, to_thread
from python_multipart.multipart import parse_options_header
from starlette.requests import Request

from service.errors import StalledUploadError, UnsupportedMediaTypeError, UploadError
from service.jobs.case_files import CaseFiles
from service.jobs.spool import Spool
from service.settings import MIB, Settings
from service.web.middleware.body_limit import content_length
from service.web.multipart import MultipartReader, ZipReader

MIN_BYTES_PER_SECOND = 2**14  # on average; a slower upload would occupy a place in the queue for too long
CHUNK_BYTES = 2**18  # of the body in memory


async def receive_upload(request: Request, spool: Spool, job_id: str, settings: Settings) -> str:
    """Write the files of a body to the folder of a job as they arrive; return a hash of them.

    Raises UnsupportedMediaTypeError, UploadError, StalledUploadError, SpoolError, TooLargeError from the body limit,
    and ClientDisconnect.
    """
    files = CaseFiles(spool, job_id)
    if (encoding := request.headers.get("content-encoding", "identity").lower()) != "identity":
        raise UnsupportedMediaTypeError(f"Content-Encoding: expected none, found {encoding[:20]}. Zips are compressed.")
    reader = _reader(request.headers.get("content-type", ""), files)
    announced_bytes = content_length(request.headers)
    if announced_bytes <= settings.max_upload_mib * MIB:  # otherwise the body limit raises
        spool.check_room(announced_bytes)
    await to_thread.run_sync(spool.create, job_id)
    async for chunk in _chunks(request, settings.upload_idle_timeout_s):
        await to_thread.run_sync(reader.write, chunk)
    await to_thread.run_sync(reader.end)
    return files.digest


def _reader(content_type: str, files: CaseFiles) -> ZipReader | MultipartReader:
    media_type, options = parse_options_header(content_type)
    if media_type == b"multipart/form-data":
        if not options.get(b"boundary"):
            raise UploadError("Multipart body: expected a boundary in Content-Type, found none.")
        return MultipartReader(files, options[b"boundary"])
    return ZipReader(files, media_type.decode("latin-1"))


async def _chunks(request: Request, idle_timeout_s: float) -> AsyncIterator[bytes]:
    """The body in chunks of about CHUNK_BYTES. Raises StalledUploadError if it stops, or arrives too slowly."""
    parts = request.stream()
    chunk = bytearray()
    started, received = monotonic(), 0
    while True:
        try:
            with fail_after(idle_timeout_s):
                part = await anext(parts, None)
        except TimeoutError as error:
            raise StalledUploadError(f"Body: expected more data within {idle_timeout_s:g} s, found none.") from error
        chunk += part or b""
        received += len(part or b"")
        if part is not None and monotonic() - started - idle_timeout_s > received / MIN_BYTES_PER_SECOND:
            raise StalledUploadError(f"Body: expected at least {MIN_BYTES_PER_SECOND} bytes a second, found fewer.")
        if chunk and (part is None or len(chunk) >= CHUNK_BYTES):
            yield bytes(chunk)
            chunk.clear()
        if part is None:
            return
