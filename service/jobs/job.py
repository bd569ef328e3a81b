"""A job: one case on its way through the service, and the record of it that survives a restart."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from time import monotonic, time
from uuid import uuid4

from anyio import CancelScope, Event
from pydantic import BaseModel, ConfigDict

from service.imaging.case import Modality
from service.imaging.labels import EnhancingLabel
from service.jobs.progress import JobProgress
from service.jobs.result import LABEL_MAP_NAME, REPORT_NAME, JobResult
from service.preparation.raw import Prepare
from service.schemas import Problem, SliceProgress
from service.segmentation.options import LabelGrid, Options, Output


class State(StrEnum):
    """The state of a job."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class JobRecord(BaseModel):
    """What is stored about a job; times are Unix timestamps in seconds."""

    model_config = ConfigDict(validate_assignment=True)

    id: str  # random: it can neither be guessed nor identify a patient
    enhancing: EnhancingLabel
    with_probabilities: bool = False
    trust_names: bool = False
    allow_missing: bool = False
    prepare: Prepare = Prepare.AUTO
    grid: LabelGrid | None = None
    with_prepared: bool = False
    series: Mapping[Modality, int] = {}
    output: Output = Output.NIFTI
    created_s: float
    state: State = State.WAITING
    owner: str | None = None  # id of the API key that created it; None if no key is required
    idempotency_key: str | None = None
    digest: str = ""  # hash of the uploaded files; equal for equal uploads
    attempts: int = 0  # how often the job was started without ending properly
    finished_s: float | None = None
    problem: Problem | None = None  # why it failed
    slices: Mapping[str, SliceProgress] = {}  # by network
    result_names: tuple[str, ...] = (LABEL_MAP_NAME, REPORT_NAME)  # the files of the result

    @property
    def options(self) -> Options:
        """What the client wants."""
        return Options(**self.model_dump(include={option.name for option in fields(Options)}))

    @property
    def scoped_idempotency_key(self) -> str | None:
        """The Idempotency-Key together with its owner, as two owners may choose the same key."""
        return f"{self.owner or ''} {self.idempotency_key}" if self.idempotency_key else None


# Outcomes of jobs that neither succeeded nor failed. An interrupted one continues after the next start of the service.
CANCELLED, INTERRUPTED = "cancelled", "interrupted"
OUTCOMES = State.DONE, State.FAILED, CANCELLED, INTERRUPTED


@dataclass
class Job:
    """A job record, and what only this process knows about the job."""

    record: JobRecord
    is_async: bool = True  # whether the client asked to fetch the result later, instead of waiting for it
    progress: JobProgress = field(default_factory=JobProgress)
    result: JobResult | None = None
    shape: tuple[int, int, int] | None = None  # of the input; known together with the result
    cancel_scope: CancelScope = field(default_factory=CancelScope)  # cancels the work on the job
    ended: Event = field(default_factory=Event)
    _started: float | None = None
    _is_interrupted: bool = False

    @property
    def id(self) -> str:
        """The id in the job's URL."""
        return self.record.id

    @property
    def is_persistent(self) -> bool:
        """Whether the job outlives its request and this process, because its client may come back for the result."""
        return self.is_async or self.record.idempotency_key is not None

    @property
    def running_s(self) -> float:
        """Seconds since the work started; 0 before."""
        return monotonic() - self._started if self._started is not None else 0.0

    @property
    def outcome(self) -> str:
        """How the work on the job ended: done, failed, cancelled, or interrupted by a shutdown."""
        if self.record.finished_s is not None:
            return self.record.state
        return INTERRUPTED if self._is_interrupted else CANCELLED

    def start(self) -> None:
        """Record that the work starts."""
        self._started = monotonic()
        self.record.state = State.RUNNING
        self.record.attempts += 1

    def requeue(self) -> None:
        """Record that a shutdown interrupted the job, which does not count as an attempt."""
        self._is_interrupted = self.is_persistent
        if self.record.state == State.RUNNING:
            self.record.state = State.WAITING
            self.record.attempts -= 1

    def finish(self, problem: Problem | None = None) -> None:
        """Record success or, with a problem, failure."""
        self.record.state = State.FAILED if problem else State.DONE
        self.record.problem = problem
        self.record.slices = dict(self.progress.slices)
        self.record.attempts = 0
        self.record.finished_s = time()


def new_job(options: Options, *, is_async: bool, owner: str | None = None, idempotency_key: str | None = None) -> Job:
    """A job whose case has not been received yet."""
    record = JobRecord(
        id=uuid4().hex,
        **asdict(options),
        created_s=time(),
        owner=owner,
        idempotency_key=idempotency_key,
    )
    return Job(record, is_async)


def inactive_job(record: JobRecord) -> Job:
    """The job for a stored record, when no task of this process works on it."""
    job = Job(record)
    job.ended.set()
    return job
