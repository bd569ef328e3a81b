"""The queue: admits cases, and reports the status and result of their jobs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from math import ceil

from anyio import CancelScope, Lock

from service.errors import IdempotencyKeyReusedError, JobNotFinishedError, NotReadyError, QueueFullError
from service.jobs.job import Job, State, inactive_job
from service.jobs.repository import JobRepository, job_not_found
from service.jobs.result import JobResult
from service.jobs.scheduler import Scheduler
from service.jobs.spool import Spool
from service.networks.model import Model
from service.schemas import JobStatus, Problem
from service.settings import Settings

RESTART_S = 10  # how long a restart takes, for Retry-After


@dataclass(frozen=True)
class QueueStatus:
    """The queue at one moment."""

    depth: int  # waiting cases and uploads in progress
    running: int
    spool_bytes: int
    is_ready: bool  # whether a new case would be accepted


NOT_LOADED = QueueStatus(depth=0, running=0, spool_bytes=0, is_ready=False)


class Queue:
    """Admits cases, passes them to the scheduler as jobs, and finds, describes and removes jobs."""

    def __init__(self, scheduler: Scheduler, repository: JobRepository, settings: Settings) -> None:
        self.scheduler, self.settings = scheduler, settings
        self._repository = repository
        self._uploads = 0  # in progress
        self._submitting = Lock()

    @property
    def spool(self) -> Spool:
        """Where uploads are written."""
        return self._repository.spool

    @property
    def model(self) -> Model:
        """The model in use."""
        return self.scheduler.worker.model

    @property
    def status(self) -> QueueStatus:
        """The queue now."""
        running = self.scheduler.running
        depth = len(self.scheduler.jobs) - running + self._uploads
        is_ready = not self.scheduler.is_draining and depth < self.settings.queue_size
        return QueueStatus(depth, running, self.spool.used_bytes, is_ready)

    def check_ready(self) -> None:
        """Raise NotReadyError or QueueFullError if a new case would not be accepted."""
        if self.scheduler.is_draining:
            raise shutting_down()
        status = self.status
        if not status.is_ready:
            raise QueueFullError(
                f"The queue is full: {status.depth} of at most {self.settings.queue_size} cases are waiting.",
                retry_after_s=self.scheduler.wait_estimate.half_empty_s(status.depth),
            )

    @asynccontextmanager
    async def admit(self, job: Job) -> AsyncIterator[None]:
        """Reserve a place for a case during its upload; if the upload fails, remove its files.

        A case that was sent before with the same Idempotency-Key is admitted even if the queue is full.
        Raises NotReadyError or QueueFullError.
        """
        if not await self._find_earlier(job):
            self.check_ready()
        self._uploads += 1
        try:
            yield
        except BaseException:
            await self._repository.remove_files(job.id)
            raise
        finally:
            self._uploads -= 1

    async def submit(self, job: Job) -> Job:
        """Queue an uploaded case, or return the job that already exists for its Idempotency-Key.

        A persistent job is stored on disk before it is queued.

        Raises NotReadyError, SpoolError, and IdempotencyKeyReusedError if the key was used for another case.
        """
        async with self._submitting:
            if self.scheduler.is_draining:
                raise shutting_down()
            if earlier := await self._find_earlier(job):
                if (earlier.record.digest, earlier.record.options) != (job.record.digest, job.record.options):
                    raise IdempotencyKeyReusedError(
                        "Idempotency-Key: expected the case for which it was first used, found another."
                    )
                await self._repository.remove_files(job.id)
                return earlier
            with CancelScope(shield=True):  # a stored record must have a task that works on it
                if job.is_persistent:
                    await self._repository.accept(job)
                self.scheduler.add(job)
        return job

    async def find(self, job_id: str) -> Job:
        """The job with this id. Raises JobNotFoundError, and LostFileError if its record is corrupt."""
        return self._find_active(job_id) or await self._repository.find(job_id)

    async def remove(self, job_id: str) -> None:
        """Cancel a waiting or running job, and remove everything stored of it. Raises JobNotFoundError, SpoolError."""
        if job := self._find_active(job_id):
            job.cancel_scope.cancel()
            await job.ended.wait()
        await self._repository.remove(job_id)

    async def result_or_problem(self, job: Job) -> JobResult | Problem:
        """The result of a job, or the problem that it failed with.

        Raises JobNotFinishedError, LostFileError, NotReadyError for a requeued job, and JobNotFoundError for a removed
        one.
        """
        if problem := job.record.problem:
            return problem
        if job.record.state == State.DONE:
            return job.result or await self._repository.read_result(job.record)
        if not job.ended.is_set():
            raise JobNotFinishedError(
                f"Job: expected it to be finished, found it {job.record.state}.",
                retry_after_s=ceil(self.status_of(job).estimated_remaining_s or 1),
            )
        raise shutting_down() if self.scheduler.is_draining else job_not_found()

    def status_of(self, job: Job) -> JobStatus:
        """The status of a job."""
        record = job.record
        waiting = [other.id for other in self.scheduler.jobs.values() if other.record.state == State.WAITING]
        position = waiting.index(job.id) + 1 if job.id in waiting else None
        cases = self.scheduler.running + position if position else 1
        finished_s = record.finished_s
        remaining_s = None if finished_s else self.scheduler.wait_estimate.remaining_s(cases, job.running_s)
        return JobStatus.model_validate(
            {
                "id": job.id,
                "state": record.state,
                "queue_position": position,
                "stage": job.progress.current_stage if record.state == State.RUNNING else None,
                "slices": job.progress.slices or record.slices,
                "estimated_remaining_s": remaining_s,
                "created": record.created_s,
                "finished": finished_s,
                "expires": finished_s and finished_s + self.settings.result_retention_s,
                "problem": record.problem,
            }
        )

    async def _find_earlier(self, job: Job) -> Job | None:
        """The job that was created with the same Idempotency-Key, if any."""
        key = job.record.scoped_idempotency_key
        record = await self._repository.find_by_key(key) if key else None
        return (self.scheduler.jobs.get(record.id) or inactive_job(record)) if record else None

    def _find_active(self, job_id: str) -> Job | None:
        """A waiting or running job that is persistent; others exist only for their own request."""
        job = self.scheduler.jobs.get(job_id)
        return job if job and job.is_persistent else None


def shutting_down() -> NotReadyError:
    """The error during shutdown."""
    return NotReadyError("The service is shutting down.", retry_after_s=RESTART_S)
