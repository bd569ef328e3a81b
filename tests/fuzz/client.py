"""A client that sends malformed and unusual requests, and the rules that the responses must keep."""

import json
import socket
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from itertools import count
from pathlib import Path
from threading import Lock
from time import monotonic, sleep

import h11

from fuzz.corpus import SECRET
from fuzz.requests import Attempt, Requests

HANG_S = 30
MAX_HEAD_BYTES = 2**14  # the limit of h11, and so of uvicorn
SPOOL_FULL, NOT_READY = 507, 503  # not a failure: 507 for a full spool, 503 of /readyz for a full queue


@dataclass
class Tally:
    """The responses of the server, and what was found."""

    requests: int = 0
    seconds: float = 0
    statuses: Counter[int | str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)  # 5xx responses, responses that break a rule, leftovers
    hangs: list[str] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)
    leftover: int = 0  # job folders on the spool
    memory_ratio: float = 0


class Jobs(list[str]):
    """The ids of the submitted jobs."""


class Client:
    """Sends the requests of one seed, each over its own connection."""

    def __init__(self, address: str, seed: str, jobs: Jobs, out: Path, keys: list[str]) -> None:
        host, _, port = address.removeprefix("http://").partition(":")
        self._address, self._requests, self._jobs = (host, int(port)), Requests(seed, jobs, keys), jobs
        self._seed, self._out, self._numbers = seed, out, count()

    def send_next(self, tally: Tally, lock: Lock) -> None:
        """Send the next request and count its outcome."""
        attempt, number = self._requests.next(), next(self._numbers)
        started = monotonic()
        try:
            status, fault = self._exchange(attempt)
        except TimeoutError:
            status, fault = "hang", None
        except (OSError, HTTPException) as error:
            must_answer = attempt.must_answer and is_http(attempt.data)
            status, fault = "none", f"{type(error).__name__}: {error}" if must_answer else None
        with lock:
            tally.requests += 1
            tally.statuses[status] += 1
            if fault or status == "hang":
                path = self._save(number, attempt)
                found = f"{fault or status} after {monotonic() - started:.1f} s: {path}"
                {"hang": tally.hangs, "none": tally.unanswered}.get(status, tally.failures).append(found)

    def _exchange(self, attempt: Attempt) -> tuple[int | str, str | None]:
        """Return the status of the response and what is wrong with it."""
        with socket.create_connection(self._address, timeout=HANG_S) as connection:
            with suppress(BrokenPipeError, ConnectionResetError):  # possibly answered before everything was sent
                self._send(connection, attempt)
            if attempt.disconnects:
                return "disconnected", None
            if attempt.bytes_to_read is not None:
                connection.recv(attempt.bytes_to_read + 1)
                return "disconnected", None
            response = HTTPResponse(connection, method=attempt.method)
            response.begin()
            body = response.read()
        if response.status == 202:
            self._jobs.append(json.loads(body)["id"])
        return response.status, find_fault(response, body, attempt.target)

    def _send(self, connection: socket.socket, attempt: Attempt) -> None:
        data = attempt.data[: attempt.cut]
        size = max(1, -(-len(data) // attempt.pieces))
        for start in range(0, len(data), size):
            connection.sendall(data[start : start + size])
            sleep(attempt.pause_s)
        if attempt.cut is not None and not attempt.disconnects:
            connection.shutdown(socket.SHUT_WR)

    def _save(self, number: int, attempt: Attempt) -> Path:
        path = self._out / f"request-{self._seed.replace(':', '-')}-{number}.bytes"
        path.write_bytes(attempt.data)
        return path


def is_http(data: bytes) -> bool:
    """Whether h11 accepts the data as a request; the server may close other connections without a response."""
    parser = h11.Connection(h11.SERVER, MAX_HEAD_BYTES)
    parser.receive_data(data[: 2 * MAX_HEAD_BYTES])
    try:
        while parser.next_event() not in (h11.NEED_DATA, h11.PAUSED):
            pass
    except h11.RemoteProtocolError:
        return False
    return True


def find_fault(response: HTTPResponse, body: bytes, target: bytes) -> str | None:
    """Return the rules that a response breaks, or None."""
    status, headers = response.status, response.headers
    kind = headers.get_content_type()
    if status == 400 and kind == "text/plain" and "X-Request-ID" not in headers:
        return None  # the response of uvicorn itself to an invalid request
    is_allowed_5xx = status == SPOOL_FULL or (status == NOT_READY and target.startswith(b"/readyz"))
    rules = {
        f"server error: {body[:300]!r}": status < 500 or is_allowed_5xx,
        f"it quotes the client: {body[:300]!r}": SECRET.encode() not in body,
        "no X-Request-ID": "X-Request-ID" in headers,
        f"not a problem but {kind}": status < 400 or kind == "application/problem+json",
        "no Allow": status != 405 or headers.get("Allow"),
        "no Retry-After": status != 429 or headers.get("Retry-After", "").isdecimal(),
    }
    broken = [rule for rule, holds in rules.items() if not holds]
    return f"{status}, {'; '.join(broken)}" if broken else None
