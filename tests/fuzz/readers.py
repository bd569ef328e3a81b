"""The readers under made-up uploads, in processes whose crash is seen.

    python tests/fuzz_readers.py SEED FIRST STEP STATE      # one worker, until it is killed

An input is made from the seed and its number alone. STATE is a file that always holds the input that is being read.
"""

import json
import os
import signal
import struct
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from time import monotonic, sleep

from fuzz_inputs import SECRET, Upload, corpus, mutated, uploads
from hypothesis import given

from service.decoding import MAX_MESSAGE_BYTES, confine, read_upload
from service.errors import DecodingError
from service.log import silence_libraries

MAX_UNPACKED_MIB = 64
SECONDS_OF_A_HANG = 10  # for inputs of kilobytes
SECONDS_TO_START = 60
BUILT_OF = 8  # one of so many inputs is built by hypothesis, which takes ten times as long
BYTES_OF_CHOICES = 4096  # that hypothesis builds an input from
FORM = "<Qd"  # of STATE, before the input: its number, and when it began
WORKERS = 2
SECONDS_BETWEEN_LOOKS = 0.2
IN_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # the disk is not what is tried


class WrongError(Exception):
    """An upload that was not read, and not refused either."""


@dataclass
class Findings:
    """What came of a part of the fuzzing."""

    inputs: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    crashes: list[str] = field(default_factory=list)
    hangs: list[str] = field(default_factory=list)


def read(upload: Upload, folder: Path) -> str:
    """Read an upload as the decoding process does; gives its outcome. Raises WrongError."""
    for name, data in upload.items():
        (folder / name).write_bytes(data)
    try:
        reply, shared = read_upload(str(folder), MAX_UNPACKED_MIB)
    finally:
        for name in upload:
            (folder / name).unlink()
    for descriptor in shared:
        os.close(descriptor)
    message = json.dumps(reply)
    if reply.get("error") == DecodingError.__name__:
        raise WrongError(reply["message"])
    if SECRET in message:
        raise WrongError(f"The answer quotes the file: {reply}")
    if len(message) > MAX_MESSAGE_BYTES:
        raise WrongError("The answer is longer than the service takes.")
    return reply.get("error", "read")


def fuzz_readers(seed: int, seconds: float, least: int, out: Path) -> Findings:
    """Read inputs for so many seconds, and longer where they are too few; what fails is kept in a folder."""
    findings = Findings()
    workers = [Worker(seed, number, out) for number in range(WORKERS)]
    started = monotonic()
    try:
        while (passed := monotonic() - started) < seconds or (findings.inputs < least and passed < 3 * seconds):
            sleep(SECONDS_BETWEEN_LOOKS)
            for worker in workers:
                worker.look(findings)
            findings.inputs = sum(worker.inputs for worker in workers)
    finally:
        for worker in workers:
            worker.end()
    for worker in workers:
        worker.collect(findings)
    return findings


class Worker:
    """A process that reads every so-manieth input, and is started again behind one that ends it."""

    def __init__(self, seed: int, number: int, out: Path) -> None:
        self.number, self._seed, self._first, self._out = number, seed, number, out
        self._state, self._log = out / f"worker-{number}.state", out / f"worker-{number}.log"
        self._log.unlink(missing_ok=True)
        self._start(number)

    @property
    def inputs(self) -> int:
        """How many it has begun."""
        return (self._now()[0] - self._first) // WORKERS

    def look(self, findings: Findings) -> None:
        """See whether it runs; where it does not, keep the input and go on behind it."""
        index, began, data = self._now()
        if (status := self._process.poll()) is not None:
            findings.crashes.append(f"exit status {status}: {self._keep('crash', index, data)}")
        elif monotonic() - began > SECONDS_OF_A_HANG:
            findings.hangs.append(str(self._keep("hang", index, data)))
            self.end()
        else:
            return
        self._start(index + WORKERS)

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()

    def collect(self, findings: Findings) -> None:
        """Take what it wrote: outcomes, and inputs that were wrong."""
        for line in self._log.read_text().splitlines():
            if not line.startswith("{"):
                findings.crashes.append(line)  # a complaint of Python, or of a library
                continue
            told = json.loads(line)
            findings.outcomes.update(told.get("outcomes", {}))
            if "wrong" in told:
                findings.crashes.append(told["wrong"])

    def _start(self, first: int) -> None:
        # Until it has read an input, the time that it takes to start is not held against it.
        self._state.write_bytes(struct.pack(FORM, first, monotonic() + SECONDS_TO_START))
        command = [sys.executable, __file__, str(self._seed), str(first), str(WORKERS), str(self._state)]
        with self._log.open("a") as log:
            environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def _now(self) -> tuple[int, float, bytes]:
        data = self._state.read_bytes()
        return *struct.unpack_from(FORM, data), data[struct.calcsize(FORM) :]

    def _keep(self, kind: str, index: int, data: bytes) -> Path:
        path = self._out / f"{kind}-{self._seed}-{index}.upload"
        path.write_bytes(data)
        return path


def work(seed: int, first: int, step: int, state: Path) -> None:
    """Read inputs until killed."""
    confine()
    silence_libraries()
    outcomes: Counter[str] = Counter()
    corpus()  # takes seconds, which are not the first input's
    with TemporaryDirectory(dir=IN_MEMORY) as folder:
        attempt = Attempt(seed, state, Path(folder), outcomes)
        built = given(uploads())(attempt.read).hypothesis.fuzz_one_input
        index = first
        while True:
            random = Random(f"{seed}:{index}")
            attempt.index = index
            if index // step % BUILT_OF == 0:
                built(random.randbytes(BYTES_OF_CHOICES))
            else:
                attempt.read(mutated(random))
            if outcomes.total() >= 1000:
                print(json.dumps({"outcomes": outcomes}), flush=True)
                outcomes.clear()
            index += step


class Attempt:
    """One input after the other, each noted before it is read."""

    def __init__(self, seed: int, state: Path, folder: Path, outcomes: Counter[str]) -> None:
        self.index = 0
        self._seed, self._folder, self._outcomes = seed, folder, outcomes
        self._descriptor, self._folder_of_wrong = os.open(state, os.O_RDWR), state.parent

    def read(self, upload: Upload) -> None:
        """Read an upload; of one that is wrong, say so and go on."""
        noted = struct.pack(FORM, self.index, monotonic()) + packed(upload)
        os.pwrite(self._descriptor, noted, 0)
        os.ftruncate(self._descriptor, len(noted))
        try:
            self._outcomes[read(upload, self._folder)] += 1
        except WrongError as error:
            path = self._folder_of_wrong / f"wrong-{self._seed}-{self.index}.upload"
            path.write_bytes(packed(upload))
            print(json.dumps({"wrong": f"{error} In {path}"}), flush=True)


def packed(upload: Upload) -> bytes:
    """An upload as one file that `unpacked` reads."""
    names = json.dumps({name: len(data) for name, data in upload.items()}).encode()
    return names + b"\n" + b"".join(upload.values())


def unpacked(data: bytes) -> Upload:
    """An upload that was kept."""
    names, _, rest = data.partition(b"\n")
    upload = {}
    for name, size in json.loads(names).items():
        upload[name], rest = rest[:size], rest[size:]
    return upload


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    _, seed, first, step, state = sys.argv
    work(int(seed), int(first), int(step), Path(state))
