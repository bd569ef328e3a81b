"""Request headers and queries, valid and invalid ones."""

from random import Random

from fuzz.corpus import SECRET

Header = tuple[bytes, bytes]

KEY_HEADER = b"Authorization"
HUGE_BYTES = 2**17

QUERIES = (
    b"?enhancing_label=3",
    b"?enhancing_label=5",
    b"?enhancing_label=3&enhancing_label=4",
    b"?enhancing_label=" + b"9" * 5000,
    b"?enhancing_label[]=%00",
    b"?" + SECRET.encode(),
    b"?%ff=%ff&&&=",
)
FIELDS: dict[bytes, tuple[bytes, ...]] = {
    b"Accept": (
        b"*/*",
        b"application/json",
        b"application/gzip;q=1",
        b"text/html",
        b"application/*;q=nan",
        b";q=,,;",
        b"",
    ),
    b"Prefer": (b"respond-async", b"respond-async, wait=5", b"return=minimal", b'x="' + SECRET.encode(), b""),
    b"Idempotency-Key": (b"", b"k", b"x" * 255, b"x" * 256, b"\xff", b"a b", b"same"),
    b"Range": (b"bytes=0-1", b"bytes=-1", b"lines=1-"),
    b"traceparent": (b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", b"00", SECRET.encode()),
    b"X-Request-ID": (b"ward-7", b"x" * 129, b'"forged', b"\xe9"),
    b"Expect": (b"100-continue", b"wonders"),
    b"Content-Encoding": (b"gzip", b"x"),
    b"Content-Type": (b"application/zip", b"text/plain", b"\xff", b";", b"application/json; charset=\xff"),
    KEY_HEADER: (b"Bearer x", b"Basic \xff"),
    b"Origin": (b"null",),
    b"Host": (b"", b"other", b"\xff"),
    b"x" * 300: (b"y" * 3000,),
}


def random_headers(random: Random) -> list[Header]:
    """Some of the headers in FIELDS, some of them repeated."""
    names = random.sample(list(FIELDS), random.choice((0, 0, 1, 2, 3)))
    return [(name, random.choice(FIELDS[name])) for name in names for _ in range(random.choice((1, 1, 1, 1, 2)))]


def write_head(start: bytes, headers: list[Header]) -> bytes:
    """The request line and headers."""
    return b"\r\n".join([start, *(name + b": " + value for name, value in headers)]) + b"\r\n\r\n"


def noise(random: Random, max_bytes: int) -> bytes:
    """Random bytes."""
    return random.randbytes(random.randrange(max_bytes + 1))
