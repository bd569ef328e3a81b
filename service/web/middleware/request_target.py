"""Paths as the routes expect them."""

from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send


class RequestTarget:
    """ASGI middleware that accepts the absolute form of a request target, and a slash after a path.

    The absolute form is that of requests to proxies, which servers must accept as well (RFC 9112, section 3.2.2).
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with the plain path."""
        if scope["type"] == "http":
            scope["path"] = _plain(scope["path"])
        await self.app(scope, receive, send)


def _plain(path: str) -> str:
    if path.lower().startswith(("http://", "https://")):
        path = urlsplit(path).path
    return path.rstrip("/") or "/"
