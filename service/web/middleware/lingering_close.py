"""Lingering close of a connection whose request was answered before its whole body had arrived."""

from anyio import move_on_after, sleep_forever
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.web.middleware.body_limit import content_length

LINGER_S = 0.5
MAX_DISCARDED_BYTES = 2**18  # read and discarded meanwhile: about what is in flight when the response is sent


class LingeringClose:
    """ASGI middleware that gives a client time to read an early response, such as 429, during its upload.

    The server closes such a connection after the response's final message. Data that arrives later is answered by a TCP
    reset, which a client may see instead of the response (RFC 9112, section 9.6).
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and delay the final message of its response while the body is still arriving."""
        if scope["type"] != "http" or not _has_body(Headers(scope=scope)):
            await self.app(scope, receive, send)
            return
        is_complete = False  # whether the whole body has arrived

        async def tracking_receive() -> Message:
            nonlocal is_complete
            message = await receive()
            is_complete = message["type"] == "http.disconnect" or not message.get("more_body", False)
            return message

        async def lingering_send(message: Message) -> None:
            if is_complete or message["type"] != "http.response.body" or message.get("more_body", False):
                await send(message)
                return
            await send({**message, "more_body": True})
            with move_on_after(LINGER_S):
                discarded = 0
                while not is_complete and discarded < MAX_DISCARDED_BYTES:
                    discarded += len((await tracking_receive()).get("body", b""))
                if not is_complete:
                    await sleep_forever()
            await send({"type": "http.response.body"})

        await self.app(scope, tracking_receive, lingering_send)


def _has_body(headers: Headers) -> bool:
    return content_length(headers) > 0 or "transfer-encoding" in headers
