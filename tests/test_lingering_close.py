"""The end of connections whose request was answered before all of it had come."""

import math
from time import monotonic

import pytest
from anyio import fail_after, run, sleep_forever

from service import linger
from service.linger import Linger

EARLY_ANSWER = [
    {"type": "http.response.start", "status": 429, "headers": []},
    {"type": "http.response.body", "body": b"come again"},
]
PIECE = {"type": "http.request", "body": bytes(1000), "more_body": True}
END, GONE = {"type": "http.request", "body": b""}, {"type": "http.disconnect"}


def sent_after(pieces, announced=b"99999"):
    """What leaves while these messages come, and then none, and the seconds until the last of it."""
    sent, arriving = [], iter(pieces)

    async def receive():
        return next(arriving, None) or await sleep_forever()

    async def send(message):
        sent.append(message)

    async def answer(_scope, _receive, send):
        for message in EARLY_ANSWER:
            await send(message)

    async def serve():
        scope = {"type": "http", "headers": [(b"content-length", announced)]}
        with fail_after(10):
            await Linger(answer)(scope, receive, send)

    started = monotonic()
    run(serve)
    return sent, monotonic() - started


def test_an_early_response_is_sent_at_once_and_ends_after_the_request_body():
    sent, seconds = sent_after([PIECE] * 3 + [END])
    assert [message.get("more_body", False) for message in sent] == [False, True, False]
    assert b"".join(message.get("body", b"") for message in sent) == b"come again"
    assert seconds < linger.LINGER_S


@pytest.mark.parametrize("pieces", [[PIECE] * 3, [PIECE] * math.ceil(linger.MOST_BYTES / 1000)])
def test_the_lingering_close_is_limited_in_time_and_bytes(pieces):
    _, seconds = sent_after(pieces)
    assert linger.LINGER_S <= seconds < linger.LINGER_S + 1


def test_a_disconnected_client_ends_the_lingering_close():
    assert sent_after([PIECE, GONE])[1] < linger.LINGER_S


def test_a_response_to_a_request_without_a_body_is_unchanged():
    assert sent_after([], announced=b"0")[0] == EARLY_ANSWER
