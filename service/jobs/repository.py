"""Persistent jobs: their records in the database together with their files in the spool."""

import logging

from anyio import CancelScope, sleep, to_thread

from service.errors import JobNotFoundError, LostFileError, SpoolError
from service.jobs.case_files import CASE_FILE_NAMES, digest_of
from service.jobs.job import Job, JobRecord, State, inactive_job
from service.jobs.records import JobRecords
from service.jobs.result import JobResult
from service.jobs.spool import Spool

log = logging.getLogger("uvicorn.error")

RETRY_INTERVAL_S = 1.0


class JobRepository:
    """Stores and finds jobs. Disk access runs in threads, so that a slow disk does not block the event loop."""

    def __init__(self, spool: Spool, records: JobRecords) -> None:
        self.spool = spool
        self._records = records
        self.is_closing = False  # at shutdown, writing a record is not retried

    async def recover(self) -> list[Job]:
        """The unfinished jobs of an earlier process, in order of arrival; files without a job are removed."""
        records = await to_thread.run_sync(self._records.unfinished)
        orphans = await to_thread.run_sync(self.spool.remove_orphans, await to_thread.run_sync(self._records.ids))
        if records or orphans:
            log.info(
                "Recovered %d jobs of an earlier process, and removed %d cases without a job.", len(records), orphans
            )
        return [Job(record.model_copy(update={"state": State.WAITING})) for record in records]

    async def accept(self, job: Job) -> None:
        """Flush a job and its case to the disk. Raises SpoolError."""
        await to_thread.run_sync(self.spool.sync, job.id)
        await to_thread.run_sync(self._records.put, job.record)

    async def start(self, job: Job) -> None:
        """Record that the work on a job starts, so that a job that crashes the service is not retried endlessly."""
        job.start()
        if job.is_persistent:
            await to_thread.run_sync(self._records.put, job.record)

    async def store_result(self, job: Job, result: JobResult) -> None:
        """Make a result available to the job's client. Raises SpoolError."""
        job.result = result
        job.record.result_names = tuple(result.files)
        if job.is_persistent:
            await to_thread.run_sync(self._write_result, job.id, result)

    async def explain(self, job: Job, error: Exception) -> Exception:
        """Why a job failed: the error or, if the case on disk was removed or changed meanwhile, a LostFileError."""
        if not await to_thread.run_sync(self._is_intact, job):
            return LostFileError("Spool: expected the uploaded case, found it missing or changed.")
        return error

    async def read_result(self, record: JobRecord) -> JobResult:
        """The result of a finished job. Raises LostFileError."""
        return await to_thread.run_sync(self._read_result, record)

    async def finalise(self, job: Job) -> None:
        """Update the disk after a job has finished, or was cancelled or requeued."""
        with CancelScope(shield=True):
            if not job.is_persistent:
                await self.remove_files(job.id)
                return
            await self._put(job.record)
            if job.record.finished_s is not None:
                await to_thread.run_sync(self.spool.remove, job.id, CASE_FILE_NAMES)

    async def find(self, job_id: str) -> Job:
        """A job that no task of this process works on. Raises JobNotFoundError; LostFileError for a corrupt record."""
        if record := await to_thread.run_sync(self._records.get, job_id):
            return inactive_job(record)
        raise job_not_found()

    async def find_by_key(self, scoped_key: str) -> JobRecord | None:
        """The record with this scoped Idempotency-Key. Raises LostFileError if it is corrupt."""
        return await to_thread.run_sync(self._records.find_by_key, scoped_key)

    async def remove(self, job_id: str) -> None:
        """Remove the record and the files of a job. Raises JobNotFoundError, SpoolError."""
        if not await to_thread.run_sync(self._records.delete, job_id):
            raise job_not_found()
        await self.remove_files(job_id)

    async def remove_files(self, job_id: str) -> None:
        """Remove the folder of a job, even if the task is cancelled meanwhile."""
        with CancelScope(shield=True):
            await to_thread.run_sync(self.spool.remove, job_id)

    async def remove_finished_before(self, moment_s: float) -> None:
        """Remove the jobs that finished before a moment."""
        try:
            for job_id in await to_thread.run_sync(self._records.finished_before, moment_s):
                await self.remove(job_id)
        except (SpoolError, JobNotFoundError) as error:  # retried soon, or just removed by its client
            log.error("Expired results: %s", error)

    async def _put(self, record: JobRecord) -> None:
        """Write a record, and retry while the disk is full: without it a finished job would run again."""
        while True:
            try:
                return await to_thread.run_sync(self._records.put, record)
            except SpoolError as error:
                log.error("Job %s: %s", record.id, error)
                if self.is_closing:
                    return None
                await sleep(RETRY_INTERVAL_S)

    def _is_intact(self, job: Job) -> bool:
        try:
            return digest_of(self.spool.folder_of(job.id)) == job.record.digest
        except OSError:
            return False

    def _write_result(self, job_id: str, result: JobResult) -> None:
        self.spool.remove(job_id, result.files)  # partial files of a process that crashed in this method
        for name, content in result.files.items():
            self.spool.append(job_id, name, content)
        self.spool.sync(job_id)

    def _read_result(self, record: JobRecord) -> JobResult:
        return JobResult({name: self.spool.read(record.id, name) for name in record.result_names})


def job_not_found() -> JobNotFoundError:
    """The error about an unknown job."""
    return JobNotFoundError("Job not found: it is unknown, was removed, or has expired.")
