"""The lingering close: a response that is sent before the whole request body has arrived."""

import math
from time import monotonic

import pytest
from anyio import fail_after, run, sleep_forever

from service.web.middleware import lingering_close
from service.web.middleware.lingering_close import LingeringClose

EARLY_RESPONSE = [
    {"type": "http.response.start", "status": 429, "headers": []},
    {"type": "http.response.body", "body": b"queue full"},
]
CHUNK = {"type": "http.request", "body": bytes(1000), "more_body": True}
LAST_CHUNK, DISCONNECT = {"type": "http.request", "body": b""}, {"type": "http.disconnect"}


def respond_early(chunks, content_length=b"99999"):
    """Respond before these chunks arrive, and return the messages sent and the seconds until the last one."""
    sent, arriving = [], iter(chunks)

    async def receive():
        return next(arriving, None) or await sleep_forever()

    async def send(message):
        sent.append(message)

    async def app(_scope, _receive, send):
        for message in EARLY_RESPONSE:
            await send(message)

    async def serve():
        scope = {"type": "http", "headers": [(b"content-length", content_length)]}
        with fail_after(10):
            await LingeringClose(app)(scope, receive, send)

    started = monotonic()
    run(serve)
    return sent, monotonic() - started


def test_an_early_response_is_sent_at_once_and_ends_after_the_request_body():
    sent, seconds = respond_early([CHUNK] * 3 + [LAST_CHUNK])
    assert [message.get("more_body", False) for message in sent] == [False, True, False]
    assert b"".join(message.get("body", b"") for message in sent) == b"queue full"
    assert seconds < lingering_close.LINGER_S


@pytest.mark.parametrize("chunks", [[CHUNK] * 3, [CHUNK] * math.ceil(lingering_close.MAX_DISCARDED_BYTES / 1000)])
def test_the_lingering_close_is_limited_in_time_and_bytes(chunks):
    _, seconds = respond_early(chunks)
    assert lingering_close.LINGER_S <= seconds < lingering_close.LINGER_S + 1


def test_a_disconnected_client_ends_the_lingering_close():
    assert respond_early([CHUNK, DISCONNECT])[1] < lingering_close.LINGER_S


def test_a_response_to_a_request_without_a_body_is_unchanged():
    assert respond_early([], content_length=b"0")[0] == EARLY_RESPONSE
