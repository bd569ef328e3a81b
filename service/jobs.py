"""A job: one case on its way through the service, and what of it outlives the process."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from time import monotonic, time
from uuid import uuid4

from anyio import CancelScope, Event
from pydantic import BaseModel, ConfigDict

from service.answer import Answer
from service.schemas import Problem, SlicesDone
from service.segmentation.labels import EnhancingLabel
from service.stopwatch import Stopwatch


class State(StrEnum):
    """Where a job is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class JobRecord(BaseModel):
    """What is kept of a job; times in seconds since 1970."""

    model_config = ConfigDict(validate_assignment=True)

    id: str
    enhancing: EnhancingLabel
    created_s: float
    state: State = State.WAITING
    owner: str | None = None  # id of the key that made it; None where nobody needed one
    idempotency_key: str | None = None
    digest: str = ""  # of the uploaded case; the same for the same case
    starts: int = 0  # how often work on it was started and not ended in order
    finished_s: float | None = None
    problem: Problem | None = None  # why it failed
    slices: Mapping[str, SlicesDone] = {}  # that each network was run on

    @property
    def owned_key(self) -> str | None:
        """The Idempotency-Key as nobody else's: two owners may choose the same."""
        return f"{self.owner or ''} {self.idempotency_key}" if self.idempotency_key else None


CANCELLED = "cancelled"  # how the work on a job ends that neither was done nor failed
OUTCOMES = State.DONE, State.FAILED, CANCELLED


@dataclass
class Job:
    """A record, and what this process knows beside it."""

    record: JobRecord
    detached: bool = True  # from the request that brought it: the client comes back for the result
    stopwatch: Stopwatch = field(default_factory=Stopwatch)
    answer: Answer | None = None  # once this process has it
    shape: tuple[int, int, int] | None = None  # of the input, with the answer
    scope: CancelScope = field(default_factory=CancelScope)
    ended: Event = field(default_factory=Event)
    _started: float | None = None

    @property
    def id(self) -> str:
        """Random, so that nobody can guess it, and nobody is in it."""
        return self.record.id

    @property
    def kept(self) -> bool:
        """Whether it outlives the request that brought it, and the process: its client may come back for it."""
        return self.detached or self.record.idempotency_key is not None

    @property
    def running_s(self) -> float:
        """Seconds since the work on it started; 0 before."""
        return monotonic() - self._started if self._started is not None else 0.0

    @property
    def outcome(self) -> str:
        """How the work on it ended: done, failed, or cancelled, by its client or by the end of the process."""
        return self.record.state if self.record.finished_s is not None else CANCELLED

    def start(self) -> None:
        """Note that the work on it starts."""
        self._started = monotonic()
        self.record.state = State.RUNNING
        self.record.starts += 1

    def put_back(self) -> None:
        """Note that the service, not the job, ended the work: it waits again."""
        if self.record.state == State.RUNNING:
            self.record.state = State.WAITING
            self.record.starts -= 1

    def finish(self, problem: Problem | None = None) -> None:
        """Note that it is done or, with a problem, that it failed."""
        self.record.state = State.FAILED if problem else State.DONE
        self.record.problem = problem
        self.record.slices = dict(self.stopwatch.slices)
        self.record.starts = 0
        self.record.finished_s = time()


def new_job(
    enhancing: EnhancingLabel, *, detached: bool, owner: str | None = None, idempotency_key: str | None = None
) -> Job:
    """A job that has yet to arrive."""
    record = JobRecord(
        id=uuid4().hex, enhancing=enhancing, created_s=time(), owner=owner, idempotency_key=idempotency_key
    )
    return Job(record, detached)


def ended_job(record: JobRecord) -> Job:
    """The job of a record from disk, which no task of this process works on."""
    job = Job(record)
    job.ended.set()
    return job
