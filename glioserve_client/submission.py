"""One case on its way: it is sent as a job, and its result is fetched."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import httpx2
from anyio import open_file, sleep

from glioserve_client.case import PackedCase
from glioserve_client.connection import read_problem, repeat
from glioserve_client.errors import ProblemError, UnexpectedAnswerError
from glioserve_client.options import Options
from glioserve_client.progress import Progress, ProgressCallback, State, read_status
from glioserve_client.result import Result, read_result

CHUNK_BYTES = 2**18  # of the upload in memory
PAUSE_S = 1.0  # before the status is asked for again, if the events of a job end early
HAS_ENDED = (State.DONE, State.FAILED)
JOB_NOT_FOUND = "job-not-found"


@dataclass(frozen=True)
class Submission:
    """What is sent, and how; equal submissions are one job of the service."""

    case: PackedCase
    options: Options
    idempotency_key: str


class Sender:
    """Sends submissions over open connections, and reports their progress."""

    def __init__(self, http: httpx2.AsyncClient, give_up_after_s: float, report: ProgressCallback) -> None:
        self._http, self._give_up_after_s, self._report = http, give_up_after_s, report
        self._last = Progress(State.UPLOADING)

    async def segment(self, submission: Submission) -> Result:
        """Send a case and return its result; once more if the service has lost the job meanwhile."""
        try:
            return await self._fetch(await self._submit(submission))
        except ProblemError as problem:
            if problem.kind != JOB_NOT_FOUND:
                raise
        return await self._fetch(await self._submit(submission))

    async def remove(self, job_id: str) -> None:
        """Remove a job, unless it is gone already. Raises ProblemError or ConnectionFailedError."""
        try:
            await self._repeat(lambda: self._http.delete(f"/jobs/{job_id}"))
        except ProblemError as problem:
            if problem.kind != JOB_NOT_FOUND:
                raise

    async def _submit(self, submission: Submission) -> str:
        """Send a case as a job; the id of the job."""
        size_bytes = submission.case.size_bytes
        headers = {
            "Content-Type": "application/zip",
            "Content-Length": str(size_bytes),
            "Prefer": "respond-async",
            "Idempotency-Key": submission.idempotency_key,
        }

        async def send() -> httpx2.Response:
            body = self._read(submission.case, size_bytes)
            return await self._http.post("/segment", params=submission.options.query, headers=headers, content=body)

        response = await self._repeat(send)
        return self._note(_read_status(response)).job_id or ""

    async def _read(self, case: PackedCase, size_bytes: int) -> AsyncIterator[bytes]:
        """The zip in pieces."""
        sent_bytes = 0
        self._note(Progress(State.UPLOADING, 0, size_bytes))
        async with await open_file(case.path, "rb") as file:
            while chunk := await file.read(CHUNK_BYTES):
                yield chunk
                sent_bytes += len(chunk)
                self._note(Progress(State.UPLOADING, sent_bytes, size_bytes))

    async def _fetch(self, job_id: str) -> Result:
        """Wait for a job and return its result. A job that failed because of the service is removed.

        Otherwise the same case, sent again, would get the same failure instead of another attempt.
        """
        status = await self._wait(job_id)
        if status["problem"]:
            problem = read_problem(status["problem"])
            if httpx2.codes.is_server_error(problem.status):
                await self.remove(job_id)
            raise problem
        headers = {"Accept": "application/zip"}
        response = await self._repeat(lambda: self._http.get(f"/jobs/{job_id}/result", headers=headers))
        return read_result(response.content, job_id)

    async def _wait(self, job_id: str) -> dict[str, Any]:
        """The status of a job once it has ended."""
        while True:
            status = _read_status(await self._repeat(lambda: self._http.get(f"/jobs/{job_id}")))
            if self._note(status).state in HAS_ENDED:
                return status
            with suppress(httpx2.TransportError):  # the request for the status shows whether this persists
                if await self._follow(job_id):
                    continue
            await sleep(PAUSE_S)

    async def _follow(self, job_id: str) -> bool:
        """Report the events of a job; whether it has ended."""
        async with self._http.sse(f"/jobs/{job_id}/events") as events:
            if not events.response.is_success:
                return False
            async for event in events:
                if event.event not in set(State):  # the job was removed, or the service shuts down
                    return False
                status: Any = event.json()
                if self._note(status).state in HAS_ENDED:
                    return True
        return False

    async def _repeat(self, send: Callable[[], Awaitable[httpx2.Response]]) -> httpx2.Response:
        return await repeat(send, self._give_up_after_s, self._note_retry)

    def _note_retry(self, reason: str) -> None:
        self._note(replace(self._last, state=State.RETRYING, reason=reason))

    def _note(self, progress: Progress | dict[str, Any]) -> Progress:
        """Report progress, unless it is what was reported last."""
        found = progress if isinstance(progress, Progress) else read_status(progress)
        if found != self._last:
            self._report(found)
        self._last = found
        return found


def _read_status(response: httpx2.Response) -> dict[str, Any]:
    """The status of a job. Raises UnexpectedAnswerError."""
    try:
        status: dict[str, Any] = response.json()
        read_status(status)
    except (ValueError, KeyError, TypeError) as error:
        found = response.headers.get("Content-Type", "no content")
        raise UnexpectedAnswerError(f"Service: expected the status of a job, found {found}.") from error
    return status
