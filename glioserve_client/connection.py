"""Requests to the service, repeated while it cannot be reached or refuses them for now."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from random import uniform
from time import monotonic
from typing import Any

import httpx2
from anyio import sleep

from glioserve_client.errors import NO_TYPE, ConnectionFailedError, GlioServeError, ProblemError

TIMEOUT = httpx2.Timeout(60, connect=10)  # seconds; the service sends something every 15 s while a job runs
FIRST_PAUSE_S, MAX_PAUSE_S = 0.5, 30.0
JITTER = 1.2  # clients that failed together do not come back together
TEMPORARY = {
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.BAD_GATEWAY,  # of a proxy, while the service restarts
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
    HTTPStatus.INSUFFICIENT_STORAGE,
}
Notify = Callable[[str], None]


@dataclass(frozen=True)
class Address:
    """Where the service is, and how to connect to it."""

    url: str
    key: str | None = field(repr=False)
    tls: ssl.SSLContext | None
    give_up_after_s: float  # for which a request is repeated without success

    def __post_init__(self) -> None:
        """Raises ValueError, which never contains the key."""
        if not _is_address(self.url):
            raise ValueError(f"url: expected an address such as http://127.0.0.1:8000, found {self.url}")
        if self.key is not None and not (self.key.isascii() and self.key.isprintable() and self.key.strip()):
            raise ValueError("key: expected visible ASCII characters, found others or none")

    @asynccontextmanager
    async def open(self) -> AsyncIterator[httpx2.AsyncClient]:
        """Connections to the service."""
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        verify = self.tls or True
        async with httpx2.AsyncClient(base_url=self.url, headers=headers, timeout=TIMEOUT, verify=verify) as http:
            yield http


async def repeat(
    send: Callable[[], Awaitable[httpx2.Response]], give_up_after_s: float, notify: Notify
) -> httpx2.Response:
    """Send a request until it succeeds; `notify` is told why it is repeated.

    Raises ProblemError, and ConnectionFailedError if there is no answer within the time.
    """
    deadline, pause_s = monotonic() + give_up_after_s, FIRST_PAUSE_S
    while True:
        failure = await _attempt(send)
        if isinstance(failure, httpx2.Response):
            return failure
        wait_s = uniform(1, JITTER) * max(pause_s, getattr(failure, "retry_after_s", None) or 0)
        if monotonic() + wait_s > deadline:
            raise failure
        notify(str(failure))
        await sleep(wait_s)
        pause_s = min(2 * pause_s, MAX_PAUSE_S)


async def _attempt(send: Callable[[], Awaitable[httpx2.Response]]) -> httpx2.Response | GlioServeError:
    """A successful response, or an error that may pass. Raises one that will not."""
    try:
        response = await send()
    except httpx2.TransportError as error:
        failure = ConnectionFailedError(f"Service: expected an answer, found none: {_describe(error)}.")
        failure.__cause__ = error
        if _is_permanent(error):
            raise failure from error
        return failure
    if response.is_success:
        return response
    problem = problem_of(response)
    if response.status_code in TEMPORARY:
        return problem
    raise problem


def problem_of(response: httpx2.Response) -> ProblemError:
    """The problem that a response is; one without a type if it is not from the service."""
    status, title = response.status_code, response.reason_phrase or "Error"
    retry_after = response.headers.get("Retry-After", "")
    retry_after_s = int(retry_after) if retry_after.isdecimal() else None  # the service sends no dates
    media_type = response.headers.get("Content-Type", "no content").partition(";")[0]
    if media_type != "application/problem+json":
        detail = f"Service: expected a problem of GlioServe, found {media_type}."
        return ProblemError(NO_TYPE, title, status, detail, retry_after_s)
    return read_problem(response.json(), retry_after_s)


def read_problem(problem: dict[str, Any], retry_after_s: int | None = None) -> ProblemError:
    """The error for a problem as the service sends it."""
    return ProblemError(problem["type"], problem["title"], problem["status"], problem["detail"], retry_after_s)


def _is_address(url: str) -> bool:
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL:
        return False
    return parsed.scheme in ("http", "https") and bool(parsed.host)


def _is_permanent(error: BaseException | None) -> bool:
    """Whether a connection failed because of a certificate, which does not pass."""
    while error and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    return error is not None


def _describe(error: BaseException) -> str:
    return str(error).rstrip(".") or type(error).__name__
