"""The client for asynchronous code."""

import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

import httpx2
from anyio import to_thread

from glioserve_client.case import Case, pack
from glioserve_client.connection import Address
from glioserve_client.options import DEFAULT_OPTIONS, Options
from glioserve_client.progress import ProgressCallback, ignore_progress
from glioserve_client.result import Result
from glioserve_client.submission import Sender, Submission

DEFAULT_URL = "http://127.0.0.1:8000"
GIVE_UP_AFTER_S = 600.0


class AsyncClient:
    """Segments cases with a GlioServe service.

    `async with` keeps connections open from one call to the next; without it, each call opens its own.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        key: str | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        give_up_after_s: float = GIVE_UP_AFTER_S,
    ) -> None:
        """`give_up_after_s`: how long a request is repeated that fails for a reason that may pass.

        Raises ValueError.
        """
        self._address = Address(url, key, tls, give_up_after_s)
        self._http: httpx2.AsyncClient | None = None
        self._resources = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._http = await self._resources.enter_async_context(self._address.open())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http = None
        await self._resources.aclose()

    async def segment(
        self,
        case: Case,
        options: Options = DEFAULT_OPTIONS,
        *,
        progress: ProgressCallback = ignore_progress,
        idempotency_key: str | None = None,
    ) -> Result:
        """Segment a case: a zip, a folder, or images by modality. docs/client.md describes the parameters.

        Raises InvalidCaseError, ConnectionFailedError, ProblemError, UnexpectedAnswerError or OSError.
        """
        with TemporaryDirectory(prefix="glioserve-") as folder:
            packed = await to_thread.run_sync(pack, case, Path(folder))
            key = idempotency_key or packed.idempotency_key(options)
            async with self._sender(progress) as sender:
                return await sender.segment(Submission(packed, options, key))

    async def remove(self, job_id: str) -> None:
        """Remove a case and its result from the service, before they expire.

        Raises ConnectionFailedError or ProblemError.
        """
        async with self._sender(ignore_progress) as sender:
            await sender.remove(job_id)

    @asynccontextmanager
    async def _sender(self, progress: ProgressCallback) -> AsyncIterator[Sender]:
        if self._http:
            yield Sender(self._http, self._address.give_up_after_s, progress)
            return
        async with self._address.open() as http:
            yield Sender(http, self._address.give_up_after_s, progress)
