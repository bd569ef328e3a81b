"""The records of jobs on disk: the one place that knows that they are in SQLite."""

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
from service.jobs import JobRecord

log = logging.getLogger("uvicorn.error")

NAME = "jobs.sqlite3"
TABLE = """CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, idempotency_key TEXT UNIQUE, created_s REAL, finished_s REAL, record TEXT)"""

PUT = """INSERT INTO jobs VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET finished_s = excluded.finished_s, record = excluded.record"""


class JobStore:
    """Job records; once a method that writes has returned, what it wrote outlives the process and the power."""

    def __init__(self, folder: Path) -> None:
        """Open or make the records in a folder. Raises SettingsError where they are unreadable as a whole."""
        self._lock = Lock()
        try:
            self._database = sqlite3.connect(folder / NAME, isolation_level=None, check_same_thread=False)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")  # each change is on the disk itself
            self._database.execute(TABLE)
            [[verdict]] = self._database.execute("PRAGMA quick_check(1)").fetchall()
        except sqlite3.OperationalError as error:  # of the disk; damage to the records is a DatabaseError
            raise SettingsError(
                f"GLIOSERVE_SPOOL: expected a disk that takes records, found: {error}. Make room, or let them be "
                "written: nothing is lost."
            ) from error
        except sqlite3.Error as error:
            verdict = str(error)
        if verdict != "ok":
            raise SettingsError(
                f"GLIOSERVE_SPOOL: expected readable records in {NAME}, found: {verdict}. Start with another folder, "
                "or move that file away: its jobs are lost then."
            )

    def close(self) -> None:
        """Close the records."""
        self._database.close()

    def put(self, record: JobRecord) -> None:
        """Write a record, in place of the one of the same id. Raises SpoolError."""
        row = (record.id, record.owned_key, record.created_s, record.finished_s, record.model_dump_json())
        self._execute(PUT, *row)

    def get(self, job_id: str) -> JobRecord | None:
        """The record of this id. Raises LostFileError where it is broken."""
        return self._find("id", job_id)

    def with_key(self, owned_key: str) -> JobRecord | None:
        """The record of this Idempotency-Key of its owner. Raises LostFileError where it is broken."""
        return self._find("idempotency_key", owned_key)

    def delete(self, job_id: str) -> bool:
        """Remove a record; gives whether it was there. Raises SpoolError."""
        return bool(self._execute("DELETE FROM jobs WHERE id = ? RETURNING id", job_id))

    def ids(self) -> list[str]:
        """Every job that has a record, broken ones too."""
        return [job_id for [job_id] in self._execute("SELECT id FROM jobs")]

    def finished_before(self, moment_s: float) -> list[str]:
        """The jobs that ended before a moment."""
        return [job_id for [job_id] in self._execute("SELECT id FROM jobs WHERE finished_s < ?", moment_s)]

    def unfinished(self) -> list[JobRecord]:
        """The jobs that wait or ran, in the order of their arrival. A broken record counts as ended from now on."""
        records = []
        query = "SELECT id, record FROM jobs WHERE finished_s IS NULL ORDER BY created_s"
        for job_id, text in self._execute(query):
            try:
                records.append(_parsed(text))
            except LostFileError:
                log.error("Job %s: its record is broken; it cannot be taken up.", job_id)
                self._execute("UPDATE jobs SET finished_s = ? WHERE id = ?", time(), job_id)
        return records

    def _find(self, column: str, value: str) -> JobRecord | None:
        rows = self._execute(f"SELECT record FROM jobs WHERE {column} = ?", value)
        return _parsed(rows[0][0]) if rows else None

    def _execute(self, statement: str, *values: Any) -> list[Any]:
        with self._lock, _translated():
            return self._database.execute(statement, values).fetchall()


def _parsed(text: Any) -> JobRecord:
    try:
        return JobRecord.model_validate_json(text)
    except ValidationError as error:
        raise LostFileError("Job: expected a readable record of it, found a broken one.") from error


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise SpoolError(f"Spool: expected a disk that takes the job's record, found: {error}.") from error
