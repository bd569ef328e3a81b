"""What is noted of every request: a log line, a line of the audit, a count, and the ids by which others find it."""

import re
from http import HTTPMethod
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
        headers = Headers(scope=scope)
        given_id, traceparent = headers.get(REQUEST_ID_HEADER, ""), headers.get("traceparent", "")
        request_id = given_id if REQUEST_ID.fullmatch(given_id) else uuid4().hex
        facts: dict[str, object] = {}
        scope.setdefault("state", {}).update(facts=facts, request_id=request_id)
        status, bytes_in, bytes_out = 500, 0, 0
        started = perf_counter()

        async def count_received() -> Message:
            nonlocal bytes_in
            message = await receive()
            bytes_in += len(message.get("body", b""))
            return message

        async def send_with_id(message: Message) -> None:
            nonlocal status, bytes_out
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID_HEADER] = request_id
            bytes_out += len(message.get("body", b""))
            await send(message)

        try:
            await self.app(scope, count_received, send_with_id)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            method = scope["method"] if scope["method"] in METHODS else "other"
            self._count(route, status, facts)
            facts |= {"request_id": request_id, "method": method, "route": route, "status": status}
            log_line(
                "request",
                traceparent=traceparent if TRACEPARENT.fullmatch(traceparent) else None,
                ms=round(1000 * (perf_counter() - started), 1),
                **facts,
            )
            if route not in PROBES:
                client, _ = scope.get("client") or (None, None)
                self._audit.note("request", client=client, bytes_in=bytes_in, bytes_out=bytes_out, **facts)

    def _count(self, route: str, status: int, facts: dict[str, object]) -> None:
        problem = facts.get("problem")
        self._metrics.requests.labels(route, problem or status).inc()
        if route == TAKES_CASES and problem and "job" not in facts:
            self._metrics.rejections.labels(problem).inc()
