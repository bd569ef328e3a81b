"""Job records on disk; the only module that knows that they are stored in SQLite."""

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from time import time
from typing import Any

from pydantic import ValidationError

from service.errors import LostFileError, SettingsError, SpoolError
from service.jobs.job import JobRecord

log = logging.getLogger("uvicorn.error")

FILE_NAME = "jobs.sqlite3"
TABLE = """CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, idempotency_key TEXT UNIQUE, created_s REAL, finished_s REAL, record TEXT)"""

PUT = """INSERT INTO jobs VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET finished_s = excluded.finished_s, record = excluded.record"""


class JobRecords:
    """Job records. A change survives a crash and a power cut once the method that makes it has returned."""

    def __init__(self, folder: Path) -> None:
        """Open or create the records in a folder. Raises SettingsError if they are unreadable as a whole."""
        self._lock = Lock()
        try:
            self._database = sqlite3.connect(folder / FILE_NAME, isolation_level=None, check_same_thread=False)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")  # fsync after each change
            self._database.execute(TABLE)
            [[verdict]] = self._database.execute("PRAGMA quick_check(1)").fetchall()
        except sqlite3.OperationalError as error:  # a disk problem; corruption raises DatabaseError, its base class
            raise SettingsError(
                f"GLIOSERVE_SPOOL: expected a disk that accepts job records, found: {error}. Free disk space, or make "
                "the folder writable: nothing is lost."
            ) from error
        except sqlite3.Error as error:
            verdict = str(error)
        if verdict != "ok":
            raise SettingsError(
                f"GLIOSERVE_SPOOL: expected readable job records in {FILE_NAME}, found: {verdict}. Use another folder, "
                "or move that file away: its jobs are lost then."
            )

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def put(self, record: JobRecord) -> None:
        """Insert or replace a record. Raises SpoolError."""
        row = (record.id, record.scoped_idempotency_key, record.created_s, record.finished_s, record.model_dump_json())
        self._execute(PUT, *row)

    def get(self, job_id: str) -> JobRecord | None:
        """The record with this id. Raises LostFileError if it is corrupt."""
        return self._find("id", job_id)

    def find_by_key(self, scoped_key: str) -> JobRecord | None:
        """The record with this scoped Idempotency-Key. Raises LostFileError if it is corrupt."""
        return self._find("idempotency_key", scoped_key)

    def delete(self, job_id: str) -> bool:
        """Delete a record; return whether it existed. Raises SpoolError."""
        return bool(self._execute("DELETE FROM jobs WHERE id = ? RETURNING id", job_id))

    def ids(self) -> list[str]:
        """Ids of all records, including corrupt ones."""
        return [job_id for [job_id] in self._execute("SELECT id FROM jobs")]

    def finished_before(self, moment_s: float) -> list[str]:
        """Ids of the jobs that finished before a moment."""
        return [job_id for [job_id] in self._execute("SELECT id FROM jobs WHERE finished_s < ?", moment_s)]

    def unfinished(self) -> list[JobRecord]:
        """Records of waiting and running jobs, in order of arrival. Corrupt ones are left out and set to finished."""
        records = []
        query = "SELECT id, record FROM jobs WHERE finished_s IS NULL ORDER BY created_s"
        for job_id, text in self._execute(query):
            try:
                records.append(_parse(text))
            except LostFileError:
                log.error("Job %s cannot be recovered: its record is corrupt.", job_id)
                self._execute("UPDATE jobs SET finished_s = ? WHERE id = ?", time(), job_id)
        return records

    def _find(self, column: str, value: str) -> JobRecord | None:
        rows = self._execute(f"SELECT record FROM jobs WHERE {column} = ?", value)
        return _parse(rows[0][0]) if rows else None

    def _execute(self, statement: str, *values: Any) -> list[Any]:
        with self._lock, _spool_errors():
            return self._database.execute(statement, values).fetchall()


def _parse(text: Any) -> JobRecord:
    try:
        return JobRecord.model_validate_json(text)
    except ValidationError as error:
        raise LostFileError("Job: expected a readable record, found a corrupt one.") from error


@contextmanager
def _spool_errors() -> Iterator[None]:
    """Translate errors of the database."""
    try:
        yield
    except sqlite3.Error as error:
        raise SpoolError(f"Spool: expected the disk to accept the job record, found: {error}.") from error
