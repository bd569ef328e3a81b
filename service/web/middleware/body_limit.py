"""A limit on request bodies that counts bytes as they arrive, before they are stored."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import TooLargeError
from service.settings import MIB


def content_length(headers: Headers) -> int:
    """Length of the body as announced by Content-Length; 0 without it."""
    announced = headers.get("content-length", "")
    return int(announced) if announced.isdecimal() else 0


class BodyLimit:
    """ASGI middleware whose `receive` raises TooLargeError once a body, or its Content-Length, exceeds the limit.

    Raised from `receive`, the error surfaces in the route that reads the body, where it is handled like any other.
    """

    def __init__(self, app: ASGIApp, max_mib: int) -> None:
        self.app = app
        self.max_mib = max_mib

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with a counting `receive`."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        announced = content_length(Headers(scope=scope))
        received = 0

        async def counting_receive() -> Message:
            nonlocal received
            if announced > self.max_mib * MIB:
                raise self._error()
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.max_mib * MIB:
                raise self._error()
            return message

        await self.app(scope, counting_receive, send)

    def _error(self) -> TooLargeError:
        return TooLargeError(f"Body: expected at most {self.max_mib} MiB, found more.")
