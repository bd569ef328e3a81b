"""The end of a connection whose request was answered before all of it had come."""

from anyio import move_on_after, sleep_forever
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.body_limit import announced_bytes

LINGER_S = 0.5
MOST_BYTES = 2**18  # that are taken meanwhile, and thrown away: about what is on its way when the answer leaves


class Linger:
    """ASGI middleware that gives a client the time to read an early answer, such as 429, while its body is coming.

    The server closes such a connection with its last word. What of the body arrives after that is met by a reset, which
    a client may see instead of the answer (RFC 9112, section 9.6).
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and hold back the last word of its answer where a body is still coming."""
        if scope["type"] != "http" or not _has_body(Headers(scope=scope)):
            await self.app(scope, receive, send)
            return
        whole = False

        async def note() -> Message:
            nonlocal whole
            message = await receive()
            whole = message["type"] == "http.disconnect" or not message.get("more_body", False)
            return message

        async def answer(message: Message) -> None:
            if whole or message["type"] != "http.response.body" or message.get("more_body", False):
                await send(message)
                return
            await send({**message, "more_body": True})
            with move_on_after(LINGER_S):
                taken = 0
                while not whole and taken < MOST_BYTES:
                    taken += len((await note()).get("body", b""))
                if not whole:
                    await sleep_forever()
            await send({"type": "http.response.body"})

        await self.app(scope, note, answer)


def _has_body(headers: Headers) -> bool:
    return announced_bytes(headers) > 0 or "transfer-encoding" in headers
