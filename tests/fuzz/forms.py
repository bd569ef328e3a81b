"""Form parts and content types of multipart bodies, valid and invalid ones."""

from random import Random

from support.case_files import MODALITY_NAMES

from fuzz.corpus import SECRET
from fuzz.headers import HUGE_BYTES, noise
from service.intake.archive import ZIP_NAME

MULTIPART_KINDS = (
    b"multipart/form-data",
    b"multipart/form-data; boundary=",
    b"multipart/form-data; boundary=" + b"y" * 9000,
    b"multipart/form-data; boundary=\xff",
    b'multipart/form-data; boundary="x',
    b"multipart/mixed; boundary=x",
    b"multipart/form-data; boundary*=utf-8''x",
)


def random_part(random: Random) -> bytes:
    """A form part with headers that may be invalid."""
    name = random.choice((ZIP_NAME, *MODALITY_NAMES, "seg", SECRET, "", "../x", "t1\0", "x" * 3000)).encode()
    headers = [disposition(name)]
    if random.random() < 0.4:
        headers = [random.choice(invalid_part_headers(name))]
    headers += random.choices(
        (b"Content-Type: x", b"Content-Transfer-Encoding: base64", b"X: " + b"y" * 999), k=random.randrange(3)
    )
    return b"\r\n".join(headers) + random.choice((b"\r\n\r\n", b"\r\n\r\n", b"\n\n", b"\r\n", b"")) + noise(random, 200)


def invalid_part_headers(name: bytes) -> tuple[bytes, ...]:
    """Incomplete, too large or wrong headers of a form part."""
    return (
        b"Content-Disposition: form-data; name=" + name,
        b'Content-Disposition: form-data; name="' + name + b'"',
        b'Content-Disposition: attachment; filename="' + name + b'"',
        b"Content-Disposition: " + b"z" * HUGE_BYTES,
        b"z" * HUGE_BYTES + b": x",
        b"no header",
        b": x",
        b"\r\n".join([disposition(name)] * 3000),
        b"Content-Disposition: form-data; name*=utf-8''" + name + b"; filename*=x",
    )


def disposition(name: bytes) -> bytes:
    """The header that names a form part."""
    return b'Content-Disposition: form-data; name="' + name + b'"; filename="' + SECRET.encode() + b'"'
