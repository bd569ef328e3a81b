"""What is noted of every request: a log line, a line of the audit, a count, and the ids by which others find it."""

import re
from http import HTTPMethod, HTTPStatus
from time import perf_counter
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.audit import Audit
from service.log import log_line
from service.metrics import Metrics
from service.schemas import REQUEST_ID_HEADER

REQUEST_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)  # nothing that could forge a log line
TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")  # W3C Trace Context, section 3.2
METHODS = frozenset(HTTPMethod)  # a client may make up others, and its words stay out of the log
TAKES_CASES = "/segment"
PROBES = "/livez", "/readyz"  # asked every few seconds, for nobody's sake
SCRAPED = "/metrics"  # the same, by who has a key


class Observe:
    """ASGI middleware that gives every request an id and notes how it ended.

    Routes add what they know to `request.state.facts`. Log and audit name a route by its pattern, never by what the
    client put into the address.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, audit: Audit) -> None:
        self.app = app
        self._metrics, self._audit = metrics, audit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and note its end."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send)
        started = perf_counter()
        try:
            await self.app(scope, exchange.receive, exchange.send)
        finally:
            self._note(scope, exchange, ms=round(1000 * (perf_counter() - started), 1))

    def _note(self, scope: Scope, exchange: "_Exchange", ms: float) -> None:
        route = getattr(scope.get("route"), "path", "none")
        method = scope["method"] if scope["method"] in METHODS else "other"
        facts, status = exchange.facts, exchange.status
        self._count(route, status, facts)
        facts |= {"request_id": exchange.request_id, "method": method, "route": route, "status": status}
        log_line("request", traceparent=_traceparent(scope), ms=ms, **facts)
        if route not in PROBES and (route, status) != (SCRAPED, HTTPStatus.OK):
            client, _ = scope.get("client") or (None, None)
            self._audit.note(
                "request", client=client, bytes_in=exchange.bytes_in, bytes_out=exchange.bytes_out, **facts
            )

    def _count(self, route: str, status: int, facts: dict[str, object]) -> None:
        problem = facts.get("problem")
        self._metrics.requests.labels(route, problem or status).inc()
        if route == TAKES_CASES and problem and "job" not in facts:
            self._metrics.rejections.labels(problem).inc()


class _Exchange:
    """A request and its answer as they pass, and what is known of them."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given_id = Headers(scope=scope).get(REQUEST_ID_HEADER, "")
        self.request_id = given_id if REQUEST_ID.fullmatch(given_id) else uuid4().hex
        self.facts: dict[str, object] = {}
        self.status, self.bytes_in, self.bytes_out = 500, 0, 0
        self._receive, self._send = receive, send
        scope.setdefault("state", {}).update(facts=self.facts, request_id=self.request_id)

    async def receive(self) -> Message:
        """Some of the request, counted."""
        message = await self._receive()
        self.bytes_in += len(message.get("body", b""))
        return message

    async def send(self, message: Message) -> None:
        """Some of the answer, counted, and with the request's id."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            MutableHeaders(scope=message)[REQUEST_ID_HEADER] = self.request_id
        self.bytes_out += len(message.get("body", b""))
        await self._send(message)


def _traceparent(scope: Scope) -> str | None:
    """The trace that a client says its request belongs to, if it is one."""
    given = Headers(scope=scope).get("traceparent", "")
    return given if TRACEPARENT.fullmatch(given) else None
