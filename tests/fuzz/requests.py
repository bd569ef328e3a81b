"""Malformed and unusual requests: their bytes, and how they are sent (in pieces, with pauses, cut off)."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from support.case_files import make_zip

from fuzz.corpus import SECRET, Upload, malicious_bodies, valid_uploads
from fuzz.forms import MULTIPART_KINDS, disposition, random_part
from fuzz.headers import HUGE_BYTES, KEY_HEADER, QUERIES, Header, noise, random_headers, write_head
from fuzz.mutations import mutate_upload
from service.intake.archive import ZIP_NAME

METHODS = [b"GET"] * 6 + b"POST PUT PATCH DELETE HEAD OPTIONS TRACE CONNECT get BREW M-SEARCH".split()
PATHS = b"/livez /readyz /metrics /models /openapi.json /segment".split()
PATHS += b"/jobs / /docs /segment/ //segment /Livez * /%00 /%ff".split()
PAUSES_S = (0.0, 0.0, 0.01, 0.1)


@dataclass
class Attempt:
    """What a client sends, and whether it must get a response."""

    data: bytes
    method: str = "GET"
    must_answer: bool = True  # whether there must be a response
    cut: int | None = None  # bytes after which the client stops sending
    disconnects: bool = False  # then; otherwise it only stops sending and waits for a response
    pieces: int = 1
    pause_s: float = 0.0  # between pieces
    bytes_to_read: int | None = None  # bytes of the response after which the client disconnects

    @property
    def target(self) -> bytes:
        """The request target and what follows it."""
        return self.data[:100].partition(b" ")[2]


class Requests:
    """A stream of requests from a seed, most of them with one of the API keys.

    Job ids are those of the jobs submitted so far.
    """

    def __init__(self, seed: str, jobs: list[str], keys: Sequence[str]) -> None:
        self._random, self._jobs, self._keys = Random(seed), jobs, keys

    def next(self) -> Attempt:
        """The next request; about one in six is cut off or its client disconnects."""
        random = self._random
        [make] = random.choices(PROBLEM_TYPES, WEIGHTS)
        attempt = make(self, random)
        attempt.pieces, attempt.pause_s = random.choice((1, 1, 1, 3)), random.choice(PAUSES_S)
        if random.random() < 1 / 12:
            attempt.cut, attempt.disconnects, attempt.must_answer = (
                random.randrange(len(attempt.data) + 1),
                random.random() < 0.5,
                False,
            )
        elif random.random() < 1 / 12:
            attempt.bytes_to_read, attempt.must_answer = random.choice((0, 1, 50, 400)), False
        return attempt

    def arbitrary(self, random: Random) -> Attempt:
        """Any method on any path, rarely with a body."""
        target = random.choice([*PATHS, b"/" + noise(random, 30).hex().encode()]) + self._query(random)
        if random.random() < 0.05:
            target = random.choice((b"/" + b"x" * HUGE_BYTES, b"/livez " + noise(random, 9), b"http://a/livez"))
        body = random.choice((b"", b"", b"", b"{}", noise(random, 300)))
        return self._attempt(random.choice(METHODS), target, random_headers(random), body)

    def job(self, random: Random) -> Attempt:
        """The routes of a job, with a real or an invented id."""
        ids = [job.encode() for job in self._jobs[-20:]] + [
            noise(random, 16).hex().encode(),
            b"..",
            b"%2e%2e",
            b"x" * 999,
        ]
        tail = random.choice((b"", b"/result", b"/events", b"/nothing"))
        method = random.choice((b"GET", b"GET", b"GET", b"HEAD", b"DELETE", b"DELETE", b"POST"))
        return self._attempt(
            method, b"/jobs/" + random.choice(ids) + tail + self._query(random), random_headers(random)
        )

    def valid(self, random: Random) -> Attempt:
        """A valid case."""
        return self._case(random, random.choice(valid_uploads()))

    def malicious(self, random: Random) -> Attempt:
        """A malicious upload."""
        return self._case(random, {ZIP_NAME: random.choice(malicious_bodies())})

    def mutated(self, random: Random) -> Attempt:
        """An upload of the corpus with some bytes changed."""
        return self._case(random, mutate_upload(random))

    def broken_multipart(self, random: Random) -> Attempt:
        """An invalid multipart body."""
        body = bytearray(
            b"".join(b"--x\r\n" + random_part(random) + b"\r\n" for _ in range(random.choice((0, 1, 2, 5))))
        )
        body += random.choice((b"--x--\r\n", b"--x--", b"", b"--x", b"--y--\r\n", b"\0" * 99))
        if random.random() < 0.1:
            body = bytearray((b"--x\r\n" + disposition(SECRET.encode()) + b"\r\n\r\n") * 2000)
        if body and random.random() < 0.3:
            del body[random.randrange(len(body)) :][: random.choice((1, 2, 9))]
        kind = random.choice((b"multipart/form-data; boundary=x",) * 6 + MULTIPART_KINDS)
        return self._attempt(b"POST", b"/segment", [(b"Content-Type", kind), *random_headers(random)], bytes(body))

    def false_length(self, random: Random) -> Attempt:
        """A body with a false or contradictory length; the client stops sending and waits for a response."""
        body = random.choice(
            (make_zip({}), b"5\r\nhello\r\n0\r\n\r\n", b"ffffffffffffffff\r\n", b"-1\r\n", noise(random, 99))
        )
        length = random.choice((b"0", b"-1", b"1e9", b"", b"99999999999999999999", b"5, 6", b"\xd9\xa1", b"0x10"))
        framing = random.choice(
            (
                [(b"Content-Length", length)],
                [(b"Content-Length", b"5"), (b"Content-Length", length)],
                [(b"Transfer-Encoding", b"chunked")],
                [(b"Transfer-Encoding", b"chunked"), (b"Content-Length", length)],
                [(b"Transfer-Encoding", b"gzip, chunked")],
                [(b"Transfer-Encoding", b"x")],
            )
        )
        headers = [(b"Content-Type", b"application/zip"), *framing, *random_headers(random)]
        data = write_head(b"POST /segment HTTP/1.1", [(b"Host", b"x"), *headers]) + body
        return Attempt(data, "POST", must_answer=False, cut=len(data))

    def invalid_http(self, random: Random) -> Attempt:
        """Bytes that are not an HTTP request."""
        data = random.choice(
            (
                noise(random, 200),
                b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + noise(random, 80),  # TLS
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                b"GET /livez HTTP/9.9\r\n\r\n",
                b"GET /livez\r\n\r\n",
                b"\r\n" * 999,
                b"GET /livez HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 20000 + b"\r\n",
                b"GET /livez HTTP/1.1\r\nHost: x\r\nx: " + b"y" * HUGE_BYTES,
                b"GET /livez HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n",
                b"GET /livez HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"
                + noise(random, 40),
                b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" * 50,  # pipelined
            )
        )
        return Attempt(data, must_answer=False, cut=len(data))

    def _case(self, random: Random, upload: Upload) -> Attempt:
        """A request with an upload as a raw zip or as a form."""
        if ZIP_NAME in upload and random.random() < 0.5:
            body, kind = upload[ZIP_NAME], b"application/zip"
        else:
            body = b"".join(
                b"--x\r\n" + disposition(name.encode()) + b"\r\n\r\n" + data + b"\r\n" for name, data in upload.items()
            )
            body, kind = body + b"--x--\r\n", b"multipart/form-data; boundary=x"
        return self._attempt(
            b"POST", b"/segment" + self._query(random), [(b"Content-Type", kind), *random_headers(random)], body
        )

    def _query(self, random: Random) -> bytes:
        return random.choice((b"",) * 12 + QUERIES)

    def _attempt(self, method: bytes, target: bytes, headers: list[Header], body: bytes = b"") -> Attempt:
        if body and self._random.random() < 0.2:
            size = self._random.choice((1000, 2**14))
            chunks = (body[start : start + size] for start in range(0, len(body), size))
            body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
            headers = [*headers, (b"Transfer-Encoding", b"chunked")]
        elif body or method == b"POST":
            headers = [*headers, (b"Content-Length", b"%d" % len(body))]
        if self._random.random() < 0.9:
            key = (KEY_HEADER, b"Bearer " + self._random.choice(self._keys).encode())
            headers = [key, *(header for header in headers if header[0] != KEY_HEADER)]
        start = method + b" " + target + b" HTTP/" + self._random.choice((b"1.1",) * 9 + (b"1.0",))
        data = write_head(start, [(b"Host", b"x"), (b"Connection", b"close"), *headers]) + body
        return Attempt(data, method.decode())


PROBLEM_TYPES = (
    Requests.arbitrary,
    Requests.job,
    Requests.valid,
    Requests.malicious,
    Requests.mutated,
    Requests.broken_multipart,
    Requests.false_length,
    Requests.invalid_http,
)
WEIGHTS = (40, 20, 3, 3, 8, 14, 6, 6)
