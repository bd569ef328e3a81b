"""The jobs that outlive the process: their records in the store, their files in the spool."""

import logging

from anyio import CancelScope, sleep, to_thread

from service.answer import MASK_NAME, REPORT_NAME, Answer
from service.body_readers import digest_of
from service.errors import JobNotFoundError, LostFileError, SpoolError
from service.jobs import Job, JobRecord, State, ended_job
from service.spool import Spool
from service.store import JobStore
from service.upload import PART_NAMES

log = logging.getLogger("uvicorn.error")

ANSWER_NAMES = MASK_NAME, REPORT_NAME
SECONDS_BETWEEN_TRIES = 1.0


class JobsOnDisk:
    """Every method does its work in a thread, so that no disk holds up the service."""

    def __init__(self, spool: Spool, store: JobStore) -> None:
        self.spool = spool
        self._store = store
        self.closing = False  # once nobody may wait for a disk that takes nothing

    async def take_over(self) -> list[Job]:
        """The jobs that an earlier process left, in the order of their arrival; files that no job owns are removed."""
        records = await to_thread.run_sync(self._store.unfinished)
        swept = await to_thread.run_sync(self.spool.sweep, await to_thread.run_sync(self._store.ids))
        if records or swept:
            log.info("Left by an earlier process: %d jobs, and %d cases that no job owned.", len(records), swept)
        return [Job(record.model_copy(update={"state": State.WAITING})) for record in records]

    async def accept(self, job: Job) -> None:
        """Have a job and its case on the disk itself. Raises SpoolError."""
        await to_thread.run_sync(self.spool.sync, job.id)
        await to_thread.run_sync(self._store.put, job.record)

    async def start(self, job: Job) -> None:
        """Note on disk that the work on a job starts: a process that dies now is not to start it for ever."""
        job.start()
        if job.kept:
            await to_thread.run_sync(self._store.put, job.record)

    async def keep_answer(self, job: Job, answer: Answer) -> None:
        """Have an answer where it will be asked for. Raises SpoolError."""
        job.answer = answer
        if job.kept:
            await to_thread.run_sync(self._write_answer, job.id, answer)

    async def explain(self, job: Job, error: Exception) -> Exception:
        """Why a job failed: the error or, where the case on disk is no longer what the client sent, that."""
        if not await to_thread.run_sync(self._is_whole, job):
            return LostFileError("Spool: expected the uploaded case, found it gone or changed.")
        return error

    async def read_answer(self, job_id: str) -> Answer:
        """The answer of a finished job. Raises LostFileError."""
        return await to_thread.run_sync(self._read_answer, job_id)

    async def settle(self, job: Job) -> None:
        """Bring the disk in line with a job that ended, was cancelled, or goes on with the next process."""
        with CancelScope(shield=True):
            if not job.kept:
                await self.remove_files(job.id)
                return
            await self._put(job.record)
            if job.record.finished_s is not None:
                await to_thread.run_sync(self.spool.remove, job.id, PART_NAMES)

    async def find(self, job_id: str) -> Job:
        """A job that no task of this process works on. Raises JobNotFoundError; LostFileError for a broken record."""
        if record := await to_thread.run_sync(self._store.get, job_id):
            return ended_job(record)
        raise not_found()

    async def with_key(self, owned_key: str) -> JobRecord | None:
        """The record of the job that came with an owner's key. Raises LostFileError where it is broken."""
        return await to_thread.run_sync(self._store.with_key, owned_key)

    async def remove(self, job_id: str) -> None:
        """Remove the record and the files of a job. Raises JobNotFoundError, SpoolError."""
        if not await to_thread.run_sync(self._store.delete, job_id):
            raise not_found()
        await self.remove_files(job_id)

    async def remove_files(self, job_id: str) -> None:
        """Remove what is in the folder of a job, whatever happens meanwhile."""
        with CancelScope(shield=True):
            await to_thread.run_sync(self.spool.remove, job_id)

    async def remove_finished_before(self, moment_s: float) -> None:
        """Remove the jobs that ended before a moment."""
        try:
            for job_id in await to_thread.run_sync(self._store.finished_before, moment_s):
                await self.remove(job_id)
        except (SpoolError, JobNotFoundError) as error:  # tried again soon, or removed by its client just now
            log.error("Expired results: %s", error)

    async def _put(self, record: JobRecord) -> None:
        """Write a record, however long the disk takes none: without it a finished job would be worked on again."""
        while True:
            try:
                return await to_thread.run_sync(self._store.put, record)
            except SpoolError as error:
                log.error("Job %s: %s", record.id, error)
                if self.closing:
                    return None
                await sleep(SECONDS_BETWEEN_TRIES)

    def _is_whole(self, job: Job) -> bool:
        try:
            return digest_of(self.spool.folder_of(job.id)) == job.record.digest
        except OSError:
            return False

    def _write_answer(self, job_id: str, answer: Answer) -> None:
        self.spool.remove(job_id, ANSWER_NAMES)  # what a process left that ended right here
        for name, content in zip(ANSWER_NAMES, (answer.mask, answer.report), strict=True):
            self.spool.append(job_id, name, content)
        self.spool.sync(job_id)

    def _read_answer(self, job_id: str) -> Answer:
        return Answer(*(self.spool.read(job_id, name) for name in ANSWER_NAMES))


def not_found() -> JobNotFoundError:
    """The error about a job that is not there."""
    return JobNotFoundError("Job: expected the id of one that is kept, found one unknown, removed or expired.")
