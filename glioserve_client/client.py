"""The client for ordinary code, also in notebooks, where an event loop is running already."""

import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

from glioserve_client.async_client import DEFAULT_URL, GIVE_UP_AFTER_S, AsyncClient
from glioserve_client.case import Case
from glioserve_client.options import DEFAULT_OPTIONS, Options
from glioserve_client.progress import ProgressCallback, ignore_progress
from glioserve_client.result import Result

T = TypeVar("T")


class Client:
    """Segments cases with a GlioServe service: `AsyncClient`, run by an event loop in a thread of its own.

    `with` keeps connections open from one call to the next; without it, each call opens its own.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        key: str | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        give_up_after_s: float = GIVE_UP_AFTER_S,
    ) -> None:
        """See AsyncClient. Raises ValueError."""
        self._client = AsyncClient(url, key, tls=tls, give_up_after_s=give_up_after_s)
        self._portal: BlockingPortal | None = None
        self._resources = ExitStack()

    def __enter__(self) -> Self:
        portal = self._resources.enter_context(start_blocking_portal())
        self._resources.enter_context(portal.wrap_async_context_manager(self._client))
        self._portal = portal
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._portal = None
        self._resources.close()

    def segment(
        self,
        case: Case,
        options: Options = DEFAULT_OPTIONS,
        *,
        progress: ProgressCallback = ignore_progress,
        idempotency_key: str | None = None,
    ) -> Result:
        """Segment a case: a zip, a folder, or images by modality. `progress` is called in another thread.

        Raises InvalidCaseError, ConnectionFailedError, ProblemError, UnexpectedAnswerError or OSError.
        """
        return self._run(
            partial(self._client.segment, case, options, progress=progress, idempotency_key=idempotency_key)
        )

    def remove(self, job_id: str) -> None:
        """Remove a case and its result from the service, before they expire.

        Raises ConnectionFailedError or ProblemError.
        """
        self._run(partial(self._client.remove, job_id))

    def _run(self, call: Callable[[], Awaitable[T]]) -> T:
        """The result of a call; an interrupted one is cancelled."""
        with self._open_portal() as portal:
            running = portal.start_task_soon(call)
            try:
                return running.result()
            except BaseException:
                running.cancel()
                raise

    @contextmanager
    def _open_portal(self) -> Iterator[BlockingPortal]:
        if self._portal:
            yield self._portal
            return
        with start_blocking_portal() as portal:
            yield portal
