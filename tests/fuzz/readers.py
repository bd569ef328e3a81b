"""Fuzzing of the upload readers in worker processes, so that crashes are detected.

    PYTHONPATH=tests python -m fuzz.readers SEED FIRST STEP STATE      # one worker, until it is killed

An input depends on the seed and its number only. STATE is a file that always holds the input being read.
"""

import json
import os
import signal
import struct
import subprocess
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from time import monotonic, sleep

from hypothesis import given

from fuzz.corpus import SECRET, Upload, corpus
from fuzz.findings import Findings
from fuzz.generated_uploads import uploads
from fuzz.mutations import mutate_upload
from service.errors import DecodingError
from service.intake import decoder_process
from service.intake.decoder_process import MAX_MESSAGE_BYTES, confine
from service.machine.process import silence_libraries
from service.segmentation.options import DEFAULT_OPTIONS

MAX_UNPACKED_MIB = 64
HANG_S = 10  # for inputs of kilobytes
STARTUP_S = 180
GENERATE_EVERY = 8  # inputs; hypothesis takes ten times as long as a mutation
HYPOTHESIS_BYTES = 4096  # from which hypothesis generates an input
STATE_FORMAT = "<Qd"  # the number of the input and when it began, before the input itself
WORKERS = 2
POLL_INTERVAL_S = 0.2
MEMORY_FOLDER = "/dev/shm" if Path("/dev/shm").is_dir() else None  # the disk is not under test


class UnexpectedOutcomeError(Exception):
    """An upload was neither read nor rejected properly."""


def read(upload: Upload, folder: Path) -> str:
    """Read an upload like the decoder process and return the outcome. Raises UnexpectedOutcomeError."""
    for name, data in upload.items():
        (folder / name).write_bytes(data)
    try:
        request = {"folder": str(folder), "max_unpacked_mib": MAX_UNPACKED_MIB, "options": asdict(DEFAULT_OPTIONS)}
        reply, shared = decoder_process.Reader().answer(request)
    finally:
        for name in upload:
            (folder / name).unlink()
    for descriptor in shared:
        os.close(descriptor)
    message = json.dumps(reply)
    if reply.get("error") == DecodingError.__name__:
        raise UnexpectedOutcomeError(reply["message"])
    if SECRET in message:
        raise UnexpectedOutcomeError(f"The reply quotes the file: {reply}")
    if len(message) > MAX_MESSAGE_BYTES:
        raise UnexpectedOutcomeError("The reply is longer than the service accepts.")
    return reply.get("error", "read")


def fuzz_readers(seed: int, seconds: float, min_inputs: int, out: Path) -> Findings:
    """Read inputs for this many seconds, or up to three times as long to reach the minimum; save those that fail."""
    findings = Findings()
    workers = [Worker(seed, number, out) for number in range(WORKERS)]
    started = monotonic()
    try:
        while (elapsed_s := monotonic() - started) < seconds or (
            findings.inputs < min_inputs and elapsed_s < 3 * seconds
        ):
            sleep(POLL_INTERVAL_S)
            for worker in workers:
                worker.poll(findings)
            findings.inputs = sum(worker.inputs for worker in workers)
    finally:
        for worker in workers:
            worker.stop()
    for worker in workers:
        worker.collect(findings)
    return findings


class Worker:
    """A process that reads every WORKERS-th input, and is restarted after an input that crashes it."""

    def __init__(self, seed: int, number: int, out: Path) -> None:
        self.number, self._seed, self._first, self._out = number, seed, number, out
        self._state, self._log = out / f"worker-{number}.state", out / f"worker-{number}.log"
        self._log.unlink(missing_ok=True)
        self._start(number)

    @property
    def inputs(self) -> int:
        """The number of inputs it has started to read."""
        return (self._read_state()[0] - self._first) // WORKERS

    def poll(self, findings: Findings) -> None:
        """Check the process; after a crash or hang, save the input and restart after it."""
        index, began, data = self._read_state()
        if (status := self._process.poll()) is not None:
            findings.crashes.append(f"exit status {status}: {self._save('crash', index, data)}")
        elif monotonic() - began > HANG_S:
            findings.hangs.append(str(self._save("hang", index, data)))
            self.stop()
        else:
            return
        self._start(index + WORKERS)

    def stop(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._process.wait()

    def collect(self, findings: Findings) -> None:
        """Read the outcomes and unexpected inputs that it printed."""
        for line in self._log.read_text().splitlines():
            if not line.startswith("{"):
                findings.crashes.append(line)  # an error message of Python or of a library
                continue
            printed = json.loads(line)
            findings.outcomes.update(printed.get("outcomes", {}))
            if "unexpected" in printed:
                findings.crashes.append(printed["unexpected"])

    def _start(self, first: int) -> None:
        # The start-up time before the first input does not count as a hang.
        self._state.write_bytes(struct.pack(STATE_FORMAT, first, monotonic() + STARTUP_S))
        command = [sys.executable, "-m", "fuzz.readers", str(self._seed), str(first), str(WORKERS), str(self._state)]
        with self._log.open("a") as log:
            environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def _read_state(self) -> tuple[int, float, bytes]:
        data = self._state.read_bytes()
        return *struct.unpack_from(STATE_FORMAT, data), data[struct.calcsize(STATE_FORMAT) :]

    def _save(self, kind: str, index: int, data: bytes) -> Path:
        path = self._out / f"{kind}-{self._seed}-{index}.upload"
        path.write_bytes(data)
        return path


def work(seed: int, first: int, step: int, state: Path) -> None:
    """Read inputs until killed."""
    confine()
    silence_libraries()
    outcomes: Counter[str] = Counter()
    corpus()  # fill the cache, which takes seconds, before the first input
    with TemporaryDirectory(dir=MEMORY_FOLDER) as folder:
        reader = Reader(seed, state, Path(folder), outcomes)
        read_generated = given(uploads())(reader.read).hypothesis.fuzz_one_input
        index = first
        while True:
            random = Random(f"{seed}:{index}")
            reader.index = index
            if index // step % GENERATE_EVERY == 0:
                read_generated(random.randbytes(HYPOTHESIS_BYTES))
            else:
                reader.read(mutate_upload(random))
            if outcomes.total() >= 1000:
                print(json.dumps({"outcomes": outcomes}), flush=True)
                outcomes.clear()
            index += step


class Reader:
    """Reads one input after another, and saves each in the state file first."""

    def __init__(self, seed: int, state: Path, folder: Path, outcomes: Counter[str]) -> None:
        self.index = 0
        self._seed, self._folder, self._outcomes = seed, folder, outcomes
        self._descriptor, self._out = os.open(state, os.O_RDWR), state.parent

    def read(self, upload: Upload) -> None:
        """Read an upload; print and save one with an unexpected outcome."""
        state = struct.pack(STATE_FORMAT, self.index, monotonic()) + pack_upload(upload)
        os.pwrite(self._descriptor, state, 0)
        os.ftruncate(self._descriptor, len(state))
        try:
            self._outcomes[read(upload, self._folder)] += 1
        except UnexpectedOutcomeError as error:
            path = self._out / f"unexpected-{self._seed}-{self.index}.upload"
            path.write_bytes(pack_upload(upload))
            print(json.dumps({"unexpected": f"{error} In {path}"}), flush=True)


def pack_upload(upload: Upload) -> bytes:
    """An upload as one file: a line of JSON with names and sizes, then the contents."""
    names = json.dumps({name: len(data) for name, data in upload.items()}).encode()
    return names + b"\n" + b"".join(upload.values())


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    _, seed, first, step, state = sys.argv
    work(int(seed), int(first), int(step), Path(state))
