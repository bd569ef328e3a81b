"""The queue: which cases are let in, whose turn it is, and what becomes of them when the service ends."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from math import ceil, inf
from time import monotonic, time
from typing import Any

from anyio import CancelScope, Event, Lock, create_task_group, sleep, to_thread
from anyio.abc import TaskGroup, TaskStatus

from service.answer import Answer
from service.disk import JobsOnDisk, not_found
from service.errors import CrashError, JobNotFinishedError, KeyReusedError, NotReadyError, QueueFullError
from service.jobs import Job, State, ended_job
from service.metrics import Load
from service.pace import Pace
from service.problems import is_internal, problem_of
from service.schemas import JobStatus, Problem, Report
from service.settings import Settings
from service.worker import Worker

log = logging.getLogger("uvicorn.error")

SECONDS_BETWEEN_LOOKS = 0.05
SECONDS_BETWEEN_SWEEPS = 10.0
RESTART_S = 10  # what a restart takes, for those who are told to come again


class Queue:
    """Takes cases in the order of their arrival through the three steps of a worker.

    While one is computed, the next is decoded, and no other: those that wait are on disk, and memory does not grow with
    their number.
    """

    def __init__(
        self, worker: Worker, disk: JobsOnDisk, settings: Settings, note: Callable[[Job, Report | None], None]
    ) -> None:
        """`note` is called with every job that ended, and its report if it has one."""
        self.worker, self.spool, self.settings = worker, disk.spool, settings
        self._disk, self._note, self._pace = disk, note, Pace()
        self._jobs: dict[str, Job] = {}  # those that wait or run, in the order of arrival
        self._arriving = 0
        decoding, computing = Lock(), Lock()
        self._turns = decoding, computing, computing  # for each step the turn that it needs
        self._submitting = Lock()
        self._drain, self._deadline = Event(), inf
        self._tasks: TaskGroup

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Take up what an earlier process left and, once started, take cases until drained."""
        async with create_task_group() as self._tasks:
            await self._tasks.start(self._take_up)
            self._tasks.start_soon(self._expire)
            task_status.started()
            await self._drain.wait()
            while self.load.running and monotonic() < self._deadline:
                await sleep(SECONDS_BETWEEN_LOOKS)
            while self._jobs:
                self._cancel(list(State))
                await sleep(SECONDS_BETWEEN_LOOKS)
            self._tasks.cancel_scope.cancel()

    def drain(self, grace_s: float) -> None:
        """Take no more; let running cases end within so many seconds, and leave those that wait on disk.

        Told again, it may leave them less time, never more.
        """
        self._deadline = min(self._deadline, monotonic() + grace_s)
        self._disk.closing = True
        self._drain.set()
        self._cancel([State.WAITING])

    @property
    def load(self) -> Load:
        """What is going on now."""
        running = sum(job.record.state == State.RUNNING for job in self._jobs.values())
        depth = len(self._jobs) - running + self._arriving
        ready = not self._drain.is_set() and depth < self.settings.max_waiting
        return Load(depth, running, self.spool.used_bytes, ready)

    def check_ready(self) -> None:
        """Raise NotReadyError or QueueFullError where a new case would not be taken."""
        if self._drain.is_set():
            raise ending()
        if not self.load.ready:
            raise QueueFullError(
                f"Queue: expected fewer than {self.settings.max_waiting} waiting cases, found {self.load.depth}.",
                retry_after_s=self._pace.until_half_empty_s(self.load.depth),
            )

    @asynccontextmanager
    async def place(self, job: Job) -> AsyncIterator[None]:
        """A place in the queue for a case while it arrives; where that fails, its files are removed.

        Raises NotReadyError or QueueFullError. A case that came before, by its Idempotency-Key, needs no place.
        """
        if not await self._earlier(job):
            self.check_ready()
        self._arriving += 1
        try:
            yield
        except BaseException:
            await self._disk.remove_files(job.id)
            raise
        finally:
            self._arriving -= 1

    async def submit(self, job: Job) -> Job:
        """Queue a case that has arrived, on disk first if it is kept; gives the earlier job of its key if there is one.

        Raises NotReadyError, SpoolError, and KeyReusedError where another case came with the key.
        """
        async with self._submitting:
            if self._drain.is_set():
                raise ending()
            if earlier := await self._earlier(job):
                if (earlier.record.digest, earlier.record.enhancing) != (job.record.digest, job.record.enhancing):
                    raise KeyReusedError("Idempotency-Key: expected the case that came with it first, found another.")
                await self._disk.remove_files(job.id)
                return earlier
            with CancelScope(shield=True):  # no record without a job that works on it
                if job.kept:
                    await self._disk.accept(job)
                self._jobs[job.id] = job
                self._tasks.start_soon(self._work, job, self._take_turns)
        return job

    async def find(self, job_id: str) -> Job:
        """The job of this id. Raises JobNotFoundError, and LostFileError where its record is broken."""
        return self._kept(job_id) or await self._disk.find(job_id)

    async def remove(self, job_id: str) -> None:
        """Cancel a job if it waits or runs, and remove all that is kept of it. Raises JobNotFoundError, SpoolError."""
        if job := self._kept(job_id):
            job.scope.cancel()
            await job.ended.wait()
        await self._disk.remove(job_id)

    async def outcome(self, job: Job) -> Answer | Problem:
        """What came of a job.

        Raises JobNotFinishedError, LostFileError, and for one that was put back or removed NotReadyError or
        JobNotFoundError.
        """
        if problem := job.record.problem:
            return problem
        if job.record.state == State.DONE:
            return job.answer or await self._disk.read_answer(job.id)
        if not job.ended.is_set():
            raise JobNotFinishedError(
                f"Job: expected a finished one, found it {job.record.state}.",
                retry_after_s=ceil(self.status(job).estimated_s or 1),
            )
        raise ending() if self._drain.is_set() else not_found()

    def status(self, job: Job) -> JobStatus:
        """Where a job is."""
        record = job.record
        waiting = [other.id for other in self._jobs.values() if other.record.state == State.WAITING]
        place = waiting.index(job.id) + 1 if job.id in waiting else None
        cases = self.load.running + place if place else 1
        finished_s = record.finished_s
        return JobStatus.model_validate(
            {
                "id": job.id,
                "state": record.state,
                "place": place,
                "slices": job.stopwatch.slices or record.slices,
                "estimated_s": None if finished_s else self._pace.left_s(cases, job.running_s),
                "created": record.created_s,
                "finished": finished_s,
                "expires": finished_s and finished_s + self.settings.keep_results_s,
                "problem": record.problem,
            }
        )

    async def _take_up(self, *, task_status: TaskStatus[None]) -> None:
        """Queue what an earlier process left; first, and alone, what it was working on when it ended."""
        jobs = await self._disk.take_over()
        self._jobs.update({job.id: job for job in jobs})
        async with self._turns[0]:  # one of them may have ended the process: no other is to be blamed, or lost, for it
            task_status.started()
            for job in jobs:
                if job.record.starts == 0:
                    self._tasks.start_soon(self._work, job, self._take_turns)
            for job in jobs:
                if job.record.starts > 0:
                    await self._work(job, self._work_alone)

    async def _work(self, job: Job, work: Callable[[Job], Awaitable[Report]]) -> None:
        """See a job from its place in the queue to its end, whatever that is."""
        report = None
        with job.scope:
            try:
                report = await work(job)
                job.finish()
            except Exception as error:  # the outermost door of a job: it fails, and the next one is worked on
                cause = await self._disk.explain(job, error)
                job.finish(problem_of(cause))
                if is_internal(cause):
                    log.error("Job %s failed.", job.id, exc_info=cause)
        if self._drain.is_set():
            job.put_back()
        await self._disk.settle(job)
        del self._jobs[job.id]
        if report:
            self._pace.add(job.stopwatch.compute_s)
        self._note(job, report)
        job.ended.set()

    async def _take_turns(self, job: Job) -> Report:
        """Take a job through the steps; a decoded case gives up that turn only once it has the one to compute."""
        value: Any = self.spool.folder_of(job.id)
        held: Lock | None = None
        try:
            for turn, step in zip(self._turns, self.worker.steps(job), strict=True):
                if turn is not held:
                    with job.stopwatch.stage("wait"):
                        await turn.acquire()
                    if held:
                        held.release()
                    held = turn
                if job.record.state == State.WAITING:
                    await self._disk.start(job)
                value = await to_thread.run_sync(step, value)
        finally:
            if held:
                held.release()
        return await self._keep_answer(job, *value)

    async def _work_alone(self, job: Job) -> Report:
        """Take a job through the steps with nothing beside it. Raises CrashError where that was tried too often."""
        if job.record.starts >= self.settings.max_starts:
            raise CrashError(
                f"Job: expected the service to outlive the work on it, found that it ended {job.record.starts} times."
            )
        await self._disk.start(job)
        value: Any = self.spool.folder_of(job.id)
        for step in self.worker.steps(job):
            value = await to_thread.run_sync(step, value)
        return await self._keep_answer(job, *value)

    async def _keep_answer(self, job: Job, mask: bytes, report: Report) -> Report:
        job.shape = report.input.shape
        await self._disk.keep_answer(job, Answer(mask, report.model_dump_json(indent=2).encode()))
        return report

    async def _expire(self) -> None:
        """Remove results once they have been kept long enough."""
        keep_s = self.settings.keep_results_s
        while True:
            await self._disk.remove_finished_before(time() - keep_s)
            await sleep(min(SECONDS_BETWEEN_SWEEPS, keep_s))

    async def _earlier(self, job: Job) -> Job | None:
        """The job that came with the same Idempotency-Key, if there is one."""
        key = job.record.owned_key
        record = await self._disk.with_key(key) if key else None
        return (self._jobs.get(record.id) or ended_job(record)) if record else None

    def _kept(self, job_id: str) -> Job | None:
        """A job that waits or runs, if others than its client may ask for it."""
        job = self._jobs.get(job_id)
        return job if job and job.kept else None

    def _cancel(self, states: list[State]) -> None:
        for job in self._jobs.values():
            if job.record.state in states:
                job.scope.cancel()


def ending() -> NotReadyError:
    """The error about a service that ends."""
    return NotReadyError("Service: expected running, found ending.", retry_after_s=RESTART_S)
