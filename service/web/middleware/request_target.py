"""Paths as the routes expect them."""

from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send


class RequestTarget:
    """ASGI middleware that accepts the absolute form of a request target, and POST with a slash after the path.

    The absolute form is that of requests to proxies, which servers must accept as well (RFC 9112, section 3.2.2). The
    relative links of pages would break with a slash.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with the plain path."""
        if scope["type"] == "http":
            path = scope["path"]
            if path.lower().startswith(("http://", "https://")):
                path = urlsplit(path).path
            scope["path"] = path.rstrip("/") if scope["method"] == "POST" else path
        await self.app(scope, receive, send)
