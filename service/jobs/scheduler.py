"""The scheduler: runs the jobs in turn, recovers them after a restart, and removes expired results."""

import logging
from collections.abc import Awaitable, Callable, Collection
from math import inf
from time import monotonic, time

from anyio import Event, Lock, create_task_group, sleep, to_thread
from anyio.abc import TaskGroup, TaskStatus

from service.errors import CrashError
from service.jobs.job import Job, State
from service.jobs.repository import JobRepository
from service.jobs.result import JobResult
from service.jobs.wait_estimate import WaitEstimate
from service.jobs.worker import Worker
from service.problems import is_internal, problem_of
from service.schemas import Report
from service.segmentation.pipeline import PredictedCase, PreparedCase
from service.settings import Settings

log = logging.getLogger("uvicorn.error")

POLL_INTERVAL_S = 0.05
RETENTION_INTERVAL_S = 10.0


class Scheduler:
    """Runs jobs in order of arrival.

    While one job is computed, only the next one is decoded. All others stay on disk, so memory use does not grow with
    their number.
    """

    def __init__(
        self,
        worker: Worker,
        repository: JobRepository,
        settings: Settings,
        on_end: Callable[[Job, Report | None], None],
    ) -> None:
        """`on_end` is called with every job that ends, and its report if it has one."""
        self.worker = worker
        self.jobs: dict[str, Job] = {}  # waiting and running ones, in order of arrival
        self.wait_estimate = WaitEstimate()
        self._repository, self._settings, self._on_end = repository, settings, on_end
        self._decoding, self._computing = Lock(), Lock()
        self._draining, self._deadline = Event(), inf
        self._tasks: TaskGroup

    @property
    def is_draining(self) -> bool:
        """Whether the service is shutting down."""
        return self._draining.is_set()

    @property
    def running(self) -> int:
        """Number of running jobs."""
        return sum(job.record.state == State.RUNNING for job in self.jobs.values())

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Recover the jobs of an earlier process, then run jobs until drained."""
        async with create_task_group() as self._tasks:
            await self._tasks.start(self._recover)
            self._tasks.start_soon(self._remove_expired)
            task_status.started()
            await self._draining.wait()
            while self.running and monotonic() < self._deadline:
                await sleep(POLL_INTERVAL_S)
            while self.jobs:
                self._cancel(list(State))
                await sleep(POLL_INTERVAL_S)
            self._tasks.cancel_scope.cancel()

    def add(self, job: Job) -> None:
        """Add a job at the end of the queue."""
        self.jobs[job.id] = job
        self._tasks.start_soon(self._work, job, self._take_turns)

    def drain(self, grace_s: float) -> None:
        """Shut down: running jobs may finish within the grace period, waiting ones stay on disk.

        A second call can shorten the grace period, but not extend it.
        """
        self._deadline = min(self._deadline, monotonic() + grace_s)
        self._repository.is_closing = True
        self._draining.set()
        self._cancel([State.WAITING])

    async def _recover(self, *, task_status: TaskStatus[None]) -> None:
        """Queue the jobs of an earlier process; first run those that it was working on, one at a time.

        One of them may have crashed the service. Running alone, it cannot take other jobs down with it.
        """
        jobs = await self._repository.recover()
        self.jobs.update({job.id: job for job in jobs})
        async with self._decoding:
            task_status.started()
            for job in jobs:
                if job.record.attempts == 0:
                    self._tasks.start_soon(self._work, job, self._take_turns)
            for job in jobs:
                if job.record.attempts > 0:
                    await self._work(job, self._work_alone)

    async def _work(self, job: Job, run_steps: Callable[[Job], Awaitable[Report]]) -> None:
        """Run a job until it is done, failed or cancelled."""
        report = None
        with job.cancel_scope:
            try:
                report = await run_steps(job)
                job.finish()
            except Exception as error:  # the outermost handler of a job: it fails, and the next one runs
                cause = await self._repository.explain(job, error)
                job.finish(problem_of(cause))
                if is_internal(cause):
                    log.error("Job %s failed.", job.id, exc_info=cause)
        if self.is_draining:
            job.requeue()
        await self._repository.finalise(job)
        del self.jobs[job.id]
        if report:
            self.wait_estimate.add(job.progress.compute_s)
        self._on_end(job, report)
        job.ended.set()

    async def _take_turns(self, job: Job) -> Report:
        """Run a job's steps in turn with other jobs.

        A job keeps the decoding lock until it gets the computing lock, so at most one decoded case waits in memory.
        """
        await self._acquire(self._decoding, job)
        try:
            await self._repository.start(job)
            prepared = await self._prepare(job)
            await self._acquire(self._computing, job)
        finally:
            self._decoding.release()
        try:
            predicted = await self._predict(job, prepared)
            del prepared  # frees the slices, most of a case's memory, before the next step
            result, report = await self._finish(job, predicted)
        finally:
            self._computing.release()
        return await self._store_result(job, result, report)

    async def _work_alone(self, job: Job) -> Report:
        """Run a job's steps while no other job runs. Raises CrashError after too many attempts."""
        if job.record.attempts >= self._settings.max_attempts:
            raise CrashError(f"Job: the service crashed {job.record.attempts} times while it worked on this case.")
        await self._repository.start(job)
        predicted = await self._predict(job, await self._prepare(job))
        result, report = await self._finish(job, predicted)
        return await self._store_result(job, result, report)

    async def _acquire(self, turn: Lock, job: Job) -> None:
        with job.progress.stage("wait"):
            await turn.acquire()

    async def _prepare(self, job: Job) -> PreparedCase:
        folder = self._repository.spool.folder_of(job.id)
        return await to_thread.run_sync(self.worker.prepare, folder, job.record.options, job.progress)

    async def _predict(self, job: Job, case: PreparedCase) -> PredictedCase:
        return await to_thread.run_sync(self.worker.predict, case, job.progress)

    async def _finish(self, job: Job, case: PredictedCase) -> tuple[JobResult, Report]:
        folder = self._repository.spool.folder_of(job.id)
        return await to_thread.run_sync(self.worker.finish, folder, case, job.record.options, job.progress)

    async def _store_result(self, job: Job, result: JobResult, report: Report) -> Report:
        job.shape = report.input.shape
        await self._repository.store_result(job, result)
        return report

    async def _remove_expired(self) -> None:
        """Remove results after their retention time."""
        retention_s = self._settings.result_retention_s
        while True:
            await self._repository.remove_finished_before(time() - retention_s)
            await sleep(min(RETENTION_INTERVAL_S, retention_s))

    def _cancel(self, states: Collection[State]) -> None:
        for job in self.jobs.values():
            if job.record.state in states:
                job.cancel_scope.cancel()
