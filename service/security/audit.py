"""The audit log: a line per request, job, start and end, each with the hash of the line before it."""

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
from service.security.append_only import append_line

log = logging.getLogger("uvicorn.error")

FILE_NAME = "audit.jsonl"
PRIVATE_FILE = 0o600
FIRST_HASH = "0" * 64  # the first line has it in place of the hash of a previous line
MAX_LINE_BYTES = 2**16
MAX_PENDING_LINES = 10_000  # while the disk accepts none


class AuditLog:
    """The audit log of this process. Events before it is open, or while the disk is full, are written later."""

    def __init__(self) -> None:
        self._pending: deque[dict[str, object]] = deque(maxlen=MAX_PENDING_LINES)
        self._descriptor: int | None = None
        self._previous = FIRST_HASH
        self._model: str | None = None

    def open(self, path: Path) -> None:
        """Continue a file, or create it. Raises SettingsError."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, PRIVATE_FILE)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._previous = _hash_of_last_line(descriptor)
        except OSError as error:
            reason = "another service is using it" if isinstance(error, BlockingIOError) else error.strerror
            raise SettingsError(
                f"GLIOSERVE_AUDIT_LOG: expected a file that only this process appends to, found {path}: {reason}."
            ) from error
        self._descriptor = descriptor  # set last: a file that another process has locked must not be written
        self._write_pending()

    def record_start(self, model_sha256: str) -> None:
        """Record that the service started with these weights."""
        self._model = model_sha256
        self.record("start")

    def close(self) -> None:
        """Record the end, and release the file."""
        self.record("end")
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def record(self, event: str, **fields: object) -> None:
        """Append a line; fields that are None are omitted."""
        line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, "model": self._model}
        self._pending.append({name: value for name, value in (line | fields).items() if value is not None})
        self._write_pending()

    def _write_pending(self) -> None:
        if self._descriptor is None:
            return
        try:
            while self._pending:
                line = json.dumps({"previous": self._previous, **self._pending[0]}).encode()
                append_line(self._descriptor, line)
                self._previous = sha256(line).hexdigest()
                self._pending.popleft()
        except OSError as error:
            log.error("Audit log: %d lines are waiting for disk space: %s", len(self._pending), error.strerror)


@dataclass(frozen=True)
class Verification:
    """What an audit log proves: no line was changed, removed or inserted without rewriting all lines after it.

    The file alone cannot show whether it was truncated, or rewritten from some line onwards. If it contains a line with
    a hash that was noted elsewhere, all lines up to that one are unchanged.
    """

    lines: int
    last_hash: str
    faults: tuple[str, ...]


def verify(path: Path, noted: str | None = None) -> Verification:
    """Check the hash chain of an audit log; a `noted` hash must occur in it. Raises OSError."""
    number, previous, faults = 0, FIRST_HASH, []
    found = noted in (None, FIRST_HASH)
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if fault := _fault(line, previous):
                faults.append(f"line {number}: {fault}")
            previous = sha256(line.rstrip(b"\n")).hexdigest()
            found = found or previous == noted
    if not found:
        faults.append(f"expected a line with the noted hash {noted}, found none: the file was rewritten or replaced")
    return Verification(number, previous, tuple(faults))


def _hash_of_last_line(descriptor: int) -> str:
    """Hash of the last line, which the next line refers to. The line may be incomplete; `verify` reports that."""
    size = os.fstat(descriptor).st_size
    lines = os.pread(descriptor, MAX_LINE_BYTES, max(0, size - MAX_LINE_BYTES)).splitlines()
    return sha256(lines[-1]).hexdigest() if lines else FIRST_HASH


def _fault(line: bytes, previous: str) -> str | None:
    try:
        claimed = json.loads(line)["previous"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return "expected JSON with the hash of the previous line, found something else or a partial line"
    return None if claimed == previous else f"expected the previous line to have the hash {claimed}, found {previous}"
