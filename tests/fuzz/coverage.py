"""The readers under inputs that are chosen by the code that they reach, with atheris and its libFuzzer.

    python tests/fuzz_coverage.py CORPUS [libFuzzer's options]

An input is a byte, which says what it is, and a zip, a NIfTI file, or the choices from which hypothesis builds an
upload.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from time import monotonic

import atheris

with atheris.instrument_imports(include=["nibabel", "service", "zipfile"]):
    from fuzz_inputs import WORDS, corpus, good_image, uploads
    from fuzz_readers import IN_MEMORY, SECONDS_OF_A_HANG, Findings, read
    from hypothesis import given

    from service.archive import ZIP_PART
    from service.decoding import confine
    from service.log import silence_libraries

ZIPS, IMAGES, BUILT = range(3)
MOST_BYTES = 2**13
CHANGED = "t2"  # the image that is not a good one
SECONDS_TO_END = 60


def fuzz_coverage(seed: int, seconds: float, out: Path) -> tuple[Findings, float]:
    """Run it in a process of its own for so many seconds; gives also what it took."""
    seeds = out / "corpus"
    rmtree(seeds, ignore_errors=True)
    seeds.mkdir()
    for number, data in enumerate(seed_inputs()):
        (seeds / str(number)).write_bytes(data)
    options = {
        "max_total_time": int(seconds),
        "seed": seed,
        "timeout": SECONDS_OF_A_HANG,
        "max_len": MOST_BYTES,
        "rss_limit_mb": 0,  # the process limits itself, as the one that decodes does
        "artifact_prefix": f"{out}/coverage-",
    }
    command = [sys.executable, __file__, seeds, *(f"-{name}={value}" for name, value in options.items())]
    started = monotonic()
    log = out / "coverage.log"
    with log.open("w") as told:
        done = subprocess.run(command, stdout=told, stderr=told, timeout=seconds + SECONDS_TO_END)
    findings, text = Findings(), log.read_text(errors="replace")
    if runs := re.search(r"^Done (\d+) runs", text, re.MULTILINE):
        findings.inputs = int(runs[1])
    if done.returncode:
        kind = findings.hangs if "libFuzzer: timeout" in text else findings.crashes
        kind.append(f"exit status {done.returncode}: {log}")
    return findings, monotonic() - started


def seed_inputs() -> list[bytes]:
    """What it starts from."""
    zips, cases = corpus()
    images = {data for case in cases for data in case.values()}
    return [bytes([ZIPS]) + upload[ZIP_PART] for upload in zips] + [bytes([IMAGES]) + data for data in images]


def try_inputs() -> None:
    """Never comes back."""
    confine()
    silence_libraries()
    with TemporaryDirectory(dir=IN_MEMORY) as folder:
        place = Path(folder)
        built = given(uploads())(lambda upload: read(upload, place)).hypothesis.fuzz_one_input
        others = {word: good_image((3, 3, 3)) for word in WORDS if word != CHANGED}

        def try_one(data: bytes) -> None:
            kind, rest = (data[0] % 3, data[1:]) if data else (ZIPS, b"")
            if kind == BUILT:
                built(rest)
            else:
                read({ZIP_PART: rest} if kind == ZIPS else others | {CHANGED: rest}, place)

        atheris.Setup(sys.argv, try_one)
        atheris.Fuzz()


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try_inputs()
