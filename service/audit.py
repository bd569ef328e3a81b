"""The audit: a line a request and a line a case, to which lines are only ever added, each bound to the one before."""

import fcntl
import json
import logging
import os
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from service.errors import SettingsError
from service.lines import append_line

log = logging.getLogger("uvicorn.error")

NAME = "audit.jsonl"
PRIVATE_FILE = 0o600
BEGINNING = "0" * 64  # what the first line has in place of the hash of one before it
MAX_LINE_BYTES = 2**16
MAX_KEPT_LINES = 10_000  # while the disk takes none


class Audit:
    """The audit file of this process. What is noted before it is open, or while the disk is full, is written later."""

    def __init__(self) -> None:
        self._kept: deque[dict[str, object]] = deque(maxlen=MAX_KEPT_LINES)
        self._descriptor: int | None = None
        self._previous = BEGINNING
        self._model: str | None = None

    def open(self, path: Path) -> None:
        """Go on with a file, or make it. Raises SettingsError."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, PRIVATE_FILE)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._previous = _hash_of_last_line(descriptor)
        except OSError as error:
            reason = "another service has it" if isinstance(error, BlockingIOError) else error.strerror
            raise SettingsError(
                f"GLIOSERVE_AUDIT: expected a file that this process alone may add to, found {path}: {reason}."
            ) from error
        self._descriptor = descriptor  # only now: what another process has the lock of stays as it is
        self._write_kept()

    def start(self, model_sha256: str) -> None:
        """Note that from now on these weights answer."""
        self._model = model_sha256
        self.note("start")

    def close(self) -> None:
        """Note the end, and let another process have the file."""
        self.note("end")
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def note(self, event: str, **facts: object) -> None:
        """Add a line; facts that are None are left out."""
        named = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, "model": self._model}
        self._kept.append({name: value for name, value in (named | facts).items() if value is not None})
        self._write_kept()

    def _write_kept(self) -> None:
        if self._descriptor is None:
            return
        try:
            while self._kept:
                line = json.dumps({"previous": self._previous, **self._kept[0]}).encode()
                append_line(self._descriptor, line)
                self._previous = sha256(line).hexdigest()
                self._kept.popleft()
        except OSError as error:
            log.error("Audit: %d lines wait for a disk that takes them: %s", len(self._kept), error.strerror)


@dataclass(frozen=True)
class Verdict:
    """What an audit file proves: that no line was changed, taken out or put in by one who left the others alone.

    That all lines from one on were written anew, or are gone, no file can tell of itself. A hash that was noted
    elsewhere tells it of all lines up to the one that had it.
    """

    lines: int
    last_hash: str
    faults: tuple[str, ...]


def verify(path: Path, noted: str | None = None) -> Verdict:
    """Follow the hashes of an audit file from its first line to its last; one that was noted must be there.

    Raises OSError.
    """
    number, previous, faults = 0, BEGINNING, []
    found = noted in (None, BEGINNING)
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if fault := _fault(line, previous):
                faults.append(f"line {number}: {fault}")
            previous = sha256(line.rstrip(b"\n")).hexdigest()
            found = found or previous == noted
    if not found:
        faults.append(f"expected a line of the hash {noted}, found none: what was noted is not what stands here")
    return Verdict(number, previous, tuple(faults))


def _hash_of_last_line(descriptor: int) -> str:
    """The hash to go on from, also from a line that a power cut tore, which shows in `verify`."""
    size = os.fstat(descriptor).st_size
    lines = os.pread(descriptor, MAX_LINE_BYTES, max(0, size - MAX_LINE_BYTES)).splitlines()
    return sha256(lines[-1]).hexdigest() if lines else BEGINNING


def _fault(line: bytes, previous: str) -> str | None:
    try:
        named = json.loads(line)["previous"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return "expected JSON that names the hash of the line before, found something else, or a part of it"
    return None if named == previous else f"expected after a line of the hash {named}, found after {previous}"
