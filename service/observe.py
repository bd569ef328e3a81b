"""What is noted of every request: one log line, one count, and the ids by which others find it."""

import re
from time import perf_counter
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.log import log_line
from service.metrics import Metrics
from service.schemas import REQUEST_ID_HEADER

REQUEST_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)  # nothing that could forge a log line
TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")  # W3C Trace Context, section 3.2
TAKES_CASES = "/segment"


class Observe:
    """ASGI middleware that gives every request an id and notes how it ended.

    Routes add what they know to `request.state.facts`. The log names a route by its pattern, never by what the client
    put into the address.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self._metrics = metrics

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
        status = 500
        started = perf_counter()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID_HEADER] = request_id
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            self._count(route, status, facts)
            log_line(
                "request",
                request_id=request_id,
                traceparent=traceparent if TRACEPARENT.fullmatch(traceparent) else None,
                method=scope["method"],
                route=route,
                status=status,
                ms=round(1000 * (perf_counter() - started), 1),
                **facts,
            )

    def _count(self, route: str, status: int, facts: dict[str, object]) -> None:
        problem = facts.get("problem")
        self._metrics.requests.labels(route, problem or status).inc()
        if route == TAKES_CASES and problem and "job" not in facts:
            self._metrics.rejections.labels(problem).inc()
