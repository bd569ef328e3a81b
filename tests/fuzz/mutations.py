"""Uploads mutated from valid and malicious ones."""

import gzip
import struct
from collections.abc import Callable
from random import Random
from zipfile import ZIP_STORED

from support.case_files import make_zip

from fuzz.corpus import INTERESTING_INTEGERS, INTERESTING_REALS, Upload, corpus, studies
from service.intake.archive import ZIP_NAME

STUDY_PROBABILITY = 0.25


def mutate_upload(random: Random) -> Upload:
    """An upload of the corpus with some bytes of one file changed."""
    if random.random() < STUDY_PROBABILITY:
        study = dict(random.choice(studies()))
        name = random.choice(list(study))
        return {ZIP_NAME: make_zip(study | {name: bytes(_mutate(bytearray(study[name]), random))}, ZIP_STORED)}
    upload = dict(random.choice(random.choice(corpus())))
    name = random.choice(list(upload))
    data = bytearray(upload[name])
    mutates_content = name != ZIP_NAME and random.random() < 0.5 and data[:2] == b"\x1f\x8b"
    if mutates_content:  # instead of the compressed bytes
        upload[name] = gzip.compress(_mutate(bytearray(gzip.decompress(data)), random), 1)
    else:
        upload[name] = bytes(_mutate(data, random))
    return upload


def _mutate(data: bytearray, random: Random) -> bytearray:
    for _ in range(random.choice((1, 1, 1, 2, 4, 16))):
        random.choice(MUTATIONS)(data, random)
    return data


def _flip(data: bytearray, random: Random) -> None:
    data[_offset(data, random)] ^= 1 << random.randrange(8)


def _overwrite(data: bytearray, random: Random) -> None:
    form = random.choice(["<B", "<H", ">H", "<L", ">L", "<Q", "<f", ">f", "<d", ">d"])
    value = random.choice(INTERESTING_REALS if form[1] in "fd" else INTERESTING_INTEGERS)
    packed = struct.pack(form, value if form[1] in "fd" else value % 2 ** (8 * struct.calcsize(form)))
    start = _offset(data, random)
    data[start : start + len(packed)] = packed


def _delete(data: bytearray, random: Random) -> None:
    start = _offset(data, random)
    del data[start : start + random.choice((1, 2, 8, 64, 512))]


def _repeat(data: bytearray, random: Random) -> None:
    start, target = _offset(data, random), _offset(data, random)
    data[target:target] = data[start : start + random.choice((1, 4, 46, 300))]


def _insert(data: bytearray, random: Random) -> None:
    start = _offset(data, random)
    data[start:start] = random.randbytes(random.choice((1, 4, 30, 300)))


def _cut(data: bytearray, random: Random) -> None:
    del data[_offset(data, random) :]


def _offset(data: bytearray, random: Random) -> int:
    """A random offset, more often near the start or the end, where headers and directories are."""
    if not data:
        data.append(0)
    span = random.choice((len(data), min(len(data), 400)))
    offset = random.randrange(span)
    return offset if random.random() < 0.5 else len(data) - 1 - offset


MUTATIONS: tuple[Callable[[bytearray, Random], None], ...] = (
    _flip,
    _overwrite,
    _overwrite,
    _delete,
    _repeat,
    _insert,
    _cut,
)
