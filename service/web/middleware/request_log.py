"""Records every request in the log, the audit log and the metrics, and assigns its request id."""

import re
from dataclasses import asdict, dataclass
from http import HTTPMethod, HTTPStatus
from time import perf_counter
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.jobs.job import Job
from service.monitoring.log import log_line
from service.monitoring.metrics import Metrics
from service.schemas import REQUEST_ID_HEADER
from service.security.audit import AuditLog

REQUEST_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)  # no characters that could forge a log line
TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")  # W3C Trace Context, section 3.2
METHODS = frozenset(HTTPMethod)  # clients may invent methods, which must not reach the log
SEGMENT_ROUTE = "/segment"
PROBE_ROUTES = "/livez", "/readyz"  # requested every few seconds, and not on behalf of a user
METRICS_ROUTE = "/metrics"  # likewise, unless the request fails


@dataclass
class RequestRecord:
    """What routes know about a request, for its log and audit lines."""

    key: str | None = None  # id of the API key
    job: str | None = None
    state: str | None = None  # of the job
    shape: tuple[int, int, int] | None = None  # of the job's case
    input: str | None = None  # hash of the job's case
    problem: str | None = None  # last part of the problem's type

    def add_job(self, job: Job) -> None:
        """Record which job the request is about, and its state."""
        self.job, self.state, self.shape, self.input = job.id, job.record.state, job.shape, job.record.digest or None


def record_of(request: Request) -> RequestRecord:
    """The record of a request, for a route to complete."""
    record: RequestRecord = request.state.record
    return record


class RequestLog:
    """ASGI middleware that gives every request an id and records how it ended.

    Log and audit log contain the pattern of the route, never the URL that the client sent.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, audit_log: AuditLog) -> None:
        self.app = app
        self._metrics, self._audit_log = metrics, audit_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and record its end."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send)
        started = perf_counter()
        try:
            await self.app(scope, exchange.receive, exchange.send)
        finally:
            self._record(scope, exchange, ms=round(1000 * (perf_counter() - started), 1))

    def _record(self, scope: Scope, exchange: "_Exchange", ms: float) -> None:
        route = getattr(scope.get("route"), "path", "none")
        method = scope["method"] if scope["method"] in METHODS else "other"
        record, status = exchange.record, exchange.status
        self._count(route, status, record)
        fields = {"request_id": exchange.request_id, "method": method, "route": route, "status": status}
        fields |= asdict(record)
        log_line("request", traceparent=_traceparent(scope), ms=ms, **fields)
        if route not in PROBE_ROUTES and (route, status) != (METRICS_ROUTE, HTTPStatus.OK):
            client, _ = scope.get("client") or (None, None)
            sizes = {"bytes_in": exchange.bytes_in, "bytes_out": exchange.bytes_out}
            self._audit_log.record("request", client=client, **sizes, **fields)

    def _count(self, route: str, status: int, record: RequestRecord) -> None:
        self._metrics.requests.labels(route, record.problem or status).inc()
        if route == SEGMENT_ROUTE and record.problem and record.job is None:
            self._metrics.rejections.labels(record.problem).inc()


class _Exchange:
    """A request and its response while they pass through the middleware."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given_id = Headers(scope=scope).get(REQUEST_ID_HEADER, "")
        self.request_id = given_id if REQUEST_ID.fullmatch(given_id) else uuid4().hex
        self.record = RequestRecord()
        self.status, self.bytes_in, self.bytes_out = 500, 0, 0
        self._receive, self._send = receive, send
        scope.setdefault("state", {}).update(record=self.record, request_id=self.request_id)

    async def receive(self) -> Message:
        """Receive and count a part of the request."""
        message = await self._receive()
        self.bytes_in += len(message.get("body", b""))
        return message

    async def send(self, message: Message) -> None:
        """Send and count a part of the response, with the request's id in its headers."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            MutableHeaders(scope=message)[REQUEST_ID_HEADER] = self.request_id
        self.bytes_out += len(message.get("body", b""))
        await self._send(message)


def _traceparent(scope: Scope) -> str | None:
    """The trace that the request belongs to, if the client sent a valid one."""
    given = Headers(scope=scope).get("traceparent", "")
    return given if TRACEPARENT.fullmatch(given) else None
