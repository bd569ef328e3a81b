"""The queue: which cases are let in, whose turn it is, and what becomes of them when the service ends."""

import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from math import ceil
from statistics import median
from time import monotonic, time
from typing import Any

from anyio import CancelScope, Event, Lock, create_task_group, sleep, to_thread
from anyio.abc import TaskGroup, TaskStatus

from service.answer import MASK_NAME, REPORT_NAME, Answer
from service.errors import (
    CrashError,
    JobNotFinishedError,
    JobNotFoundError,
    KeyReusedError,
    NotReadyError,
    QueueFullError,
    SpoolError,
)
from service.jobs import Job, JobRecord, State, ended_job
from service.log import log_line
from service.metrics import Load, Metrics
from service.problems import is_internal, problem_of
from service.schemas import JobStatus, Problem, Report
from service.settings import Settings
from service.spool import Spool
from service.store import JobStore
from service.upload import PART_NAMES
from service.worker import Worker

log = logging.getLogger("uvicorn.error")

RECENT_CASES = 9  # whose median time stands for the time of those to come
FIRST_GUESS_S = 2.0  # before any
SECONDS_BETWEEN_LOOKS = 0.05
SECONDS_BETWEEN_TRIES = 1.0
SECONDS_BETWEEN_SWEEPS = 10.0
ANSWER_NAMES = MASK_NAME, REPORT_NAME
RESTART_S = 10  # what a restart takes, for those who are told to come again


class Queue:
    """Takes cases in the order of their arrival through the three steps of a worker.

    While one is computed, the next is decoded, and no other: those that wait are on disk, and memory does not grow with
    their number.
    """

    def __init__(self, worker: Worker, spool: Spool, store: JobStore, metrics: Metrics, settings: Settings) -> None:
        self.worker, self.spool, self.settings = worker, spool, settings
        self._store, self._metrics = store, metrics
        self._jobs: dict[str, Job] = {}  # those that wait or run, in the order of arrival
        self._arriving = 0
        decoding, computing = Lock(), Lock()
        self._turns = decoding, computing, computing  # for each step the turn that it needs
        self._submitting = Lock()
        self._recent_s: deque[float] = deque([FIRST_GUESS_S], maxlen=RECENT_CASES)
        self._drain, self._deadline = Event(), 0.0
        self._tasks: TaskGroup

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Take up what an earlier process left and, once started, take cases until drained."""
        async with create_task_group() as self._tasks:
            await self._tasks.start(self._take_up)
            self._tasks.start_soon(self._expire)
            task_status.started()
            await self._drain.wait()
            while any(job.record.state == State.RUNNING for job in self._jobs.values()) and self._time_left():
                await sleep(SECONDS_BETWEEN_LOOKS)
            while self._jobs:
                self._cancel(list(State))
                await sleep(SECONDS_BETWEEN_LOOKS)
            self._tasks.cancel_scope.cancel()

    def drain(self, grace_s: float) -> None:
        """Take no more; let running cases end within so many seconds, and leave those that wait on disk."""
        self._deadline = monotonic() + grace_s
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
            raise _ending()
        if not self.load.ready:
            raise QueueFullError(
                f"Queue: expected fewer than {self.settings.max_waiting} waiting cases, found {self.load.depth}.",
                retry_after_s=self._until_half_empty_s(),
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
            with CancelScope(shield=True):
                await to_thread.run_sync(self.spool.remove, job.id)
            raise
        finally:
            self._arriving -= 1

    async def submit(self, job: Job) -> Job:
        """Queue a case that has arrived, on disk first if it is kept; gives the earlier job of its key if there is one.

        Raises NotReadyError, SpoolError, and KeyReusedError where another case came with the key.
        """
        async with self._submitting:
            if self._drain.is_set():
                raise _ending()
            if earlier := await self._earlier(job):
                if (earlier.record.digest, earlier.record.enhancing) != (job.record.digest, job.record.enhancing):
                    raise KeyReusedError("Idempotency-Key: expected the case that came with it first, found another.")
                await to_thread.run_sync(self.spool.remove, job.id)
                return earlier
            with CancelScope(shield=True):  # no record without a job that works on it
                if job.kept:
                    await to_thread.run_sync(self.spool.sync, job.id)
                    await to_thread.run_sync(self._store.put, job.record)
                self._jobs[job.id] = job
                self._tasks.start_soon(self._work, job, self._take_turns)
        return job

    async def find(self, job_id: str) -> Job:
        """The job of this id. Raises JobNotFoundError, and LostFileError where its record is broken."""
        if job := self._kept(job_id):
            return job
        if record := await to_thread.run_sync(self._store.get, job_id):
            return ended_job(record)
        raise _not_found()

    async def remove(self, job_id: str) -> None:
        """Cancel a job if it waits or runs, and remove all that is kept of it. Raises JobNotFoundError."""
        if job := self._kept(job_id):
            job.scope.cancel()
            await job.ended.wait()
        if not await to_thread.run_sync(self._store.delete, job_id):
            raise _not_found()
        await to_thread.run_sync(self.spool.remove, job_id)

    async def outcome(self, job: Job) -> Answer | Problem:
        """What came of a job.

        Raises JobNotFinishedError, LostFileError, and for one that was put back or removed NotReadyError or
        JobNotFoundError.
        """
        if problem := job.record.problem:
            return problem
        if job.record.state == State.DONE:
            if answer := job.answer:
                return answer
            return await to_thread.run_sync(self._read_answer, job.id)
        if not job.ended.is_set():
            raise JobNotFinishedError(
                f"Job: expected a finished one, found it {job.record.state}.",
                retry_after_s=ceil(self.status(job).estimated_s or 1),
            )
        raise _ending() if self._drain.is_set() else _not_found()

    def status(self, job: Job) -> JobStatus:
        """Where a job is."""
        record = job.record
        waiting = [other.id for other in self._jobs.values() if other.record.state == State.WAITING]
        place = waiting.index(job.id) + 1 if job.id in waiting else None
        expires_s = record.finished_s and record.finished_s + self.settings.keep_results_s
        return JobStatus.model_validate(
            {
                "id": job.id,
                "state": record.state,
                "place": place,
                "slices": job.stopwatch.slices,
                "estimated_s": self._estimated_s(job, place),
                "created": record.created_s,
                "finished": record.finished_s,
                "expires": expires_s,
                "problem": record.problem,
            }
        )

    async def _take_up(self, *, task_status: TaskStatus[None]) -> None:
        """Queue what an earlier process left; first, and alone, what it was working on when it ended."""
        records = await to_thread.run_sync(self._store.unfinished)
        swept = self.spool.sweep(await to_thread.run_sync(self._store.ids))
        jobs = [Job(record.model_copy(update={"state": State.WAITING})) for record in records]
        if jobs or swept:
            log.info("Taken up: %d jobs of an earlier process; removed: %d cases that no job owns.", len(jobs), swept)
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
                job.finish(problem_of(error))
                if is_internal(error):
                    log.error("Job %s failed.", job.id, exc_info=error)
        with CancelScope(shield=True):
            await self._settle(job)
        del self._jobs[job.id]
        if report:
            self._recent_s.append(job.stopwatch.compute_s)
        self._metrics.observe(job, report)
        log_line(
            "job",
            job=job.id,
            outcome=job.outcome,
            wait_ms=job.stopwatch.timings_ms.get("wait"),
            compute_ms=round(1000 * job.stopwatch.compute_s, 1),
            shape=job.shape,
            problem=job.record.problem and job.record.problem.type,
        )
        job.ended.set()

    async def _take_turns(self, job: Job) -> Report:
        """Take a job through the steps; a decoded case gives up that turn only once it has the one to compute."""
        value: Any = self.spool.folder_of(job.id)
        held: Lock | None = None
        try:
            for turn, step in zip(self._turns, self._steps(job), strict=True):
                if turn is not held:
                    with job.stopwatch.stage("wait"):
                        await turn.acquire()
                    if held:
                        held.release()
                    held = turn
                if job.record.state == State.WAITING:
                    await self._start(job)
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
        await self._start(job)
        value: Any = self.spool.folder_of(job.id)
        for step in self._steps(job):
            value = await to_thread.run_sync(step, value)
        return await self._keep_answer(job, *value)

    def _steps(self, job: Job) -> tuple[Callable[[Any], Any], ...]:
        """The steps of a job; the first takes the folder of its upload, each other what the one before it gave."""
        enhancing, stopwatch = job.record.enhancing, job.stopwatch
        return (
            lambda folder: self.worker.prepare(folder, stopwatch),
            lambda case: self.worker.predict(case, stopwatch),
            lambda case: self.worker.finish(case, enhancing, stopwatch),
        )

    async def _start(self, job: Job) -> None:
        job.start()
        if job.kept:
            await to_thread.run_sync(self._store.put, job.record)

    async def _keep_answer(self, job: Job, mask: bytes, report: Report) -> Report:
        """Have the answer where it will be asked for: of a kept job on disk, of another in memory."""
        job.answer = Answer(mask, report.model_dump_json(indent=2).encode())
        job.shape = report.input.shape
        if job.kept:
            await to_thread.run_sync(self._write_answer, job.id, job.answer)
        return report

    def _write_answer(self, job_id: str, answer: Answer) -> None:
        self.spool.remove(job_id, ANSWER_NAMES)  # what a process left that ended right here
        for name, content in zip(ANSWER_NAMES, (answer.mask, answer.report), strict=True):
            self.spool.append(job_id, name, content)
        self.spool.sync(job_id)

    def _read_answer(self, job_id: str) -> Answer:
        return Answer(*(self.spool.read(job_id, name) for name in ANSWER_NAMES))

    async def _settle(self, job: Job) -> None:
        """Bring what is on disk in line with a job that ended, was cancelled, or goes on with the next process."""
        if not job.kept:
            await to_thread.run_sync(self.spool.remove, job.id)
            return
        if self._drain.is_set():
            job.put_back()
        await self._put(job.record)
        if job.record.finished_s is not None:
            await to_thread.run_sync(self.spool.remove, job.id, PART_NAMES)

    async def _put(self, record: JobRecord) -> None:
        """Write a record, however long the disk takes none: without it a finished job would be worked on again."""
        while True:
            try:
                return await to_thread.run_sync(self._store.put, record)
            except SpoolError as error:
                log.error("Job %s: %s", record.id, error)
                if self._drain.is_set():
                    return None
                await sleep(SECONDS_BETWEEN_TRIES)

    async def _expire(self) -> None:
        """Remove results once they have been kept long enough."""
        while True:
            try:
                for job_id in await to_thread.run_sync(
                    self._store.finished_before, time() - self.settings.keep_results_s
                ):
                    await self.remove(job_id)
            except (SpoolError, JobNotFoundError) as error:
                log.error("Expired results: %s", error)
            await sleep(min(SECONDS_BETWEEN_SWEEPS, self.settings.keep_results_s))

    async def _earlier(self, job: Job) -> Job | None:
        """The job that came with the same Idempotency-Key, if there is one."""
        key = job.record.idempotency_key
        record = await to_thread.run_sync(self._store.with_key, key) if key else None
        return (self._jobs.get(record.id) or ended_job(record)) if record else None

    def _kept(self, job_id: str) -> Job | None:
        """A job that waits or runs, if others than its client may ask for it."""
        job = self._jobs.get(job_id)
        return job if job and job.kept else None

    def _cancel(self, states: list[State]) -> None:
        for job in self._jobs.values():
            if job.record.state in states:
                job.scope.cancel()

    def _time_left(self) -> bool:
        return monotonic() < self._deadline

    @property
    def _seconds_a_case(self) -> float:
        return median(self._recent_s)

    def _estimated_s(self, job: Job, place: int | None) -> float | None:
        if job.record.finished_s is not None:
            return None
        ahead = place + self.load.running if place else 1
        return round(max(0.0, ahead * self._seconds_a_case - job.running_s), 1)

    def _until_half_empty_s(self) -> int:
        """When half of the queue will be through: there is room then, and work is left for the meantime."""
        return ceil(self._seconds_a_case * (self.load.depth + 1) / 2)


def _ending() -> NotReadyError:
    return NotReadyError("Service: expected running, found ending.", retry_after_s=RESTART_S)


def _not_found() -> JobNotFoundError:
    return JobNotFoundError("Job: expected the id of one that is kept, found one unknown, removed or expired.")
