"""The progress of a job: how long each stage took, and how many slices each network has processed."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from anyio import from_thread

from service.schemas import SliceProgress

NOT_COMPUTING = ("receive", "wait")  # stages before the work on a case starts


class JobProgress:
    """A ProgressObserver that records milliseconds by stage, in the order of the stages, and slices by network."""

    def __init__(self) -> None:
        self.timings_ms: dict[str, float] = {}
        self.slices: dict[str, SliceProgress] = {}
        self.current_stage: str | None = None

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the enclosed code."""
        self.current_stage, started = name, perf_counter()
        yield
        self.current_stage = None
        self.timings_ms[name] = round(self.timings_ms.get(name, 0) + 1000 * (perf_counter() - started), 1)

    def advance(self, network: str, done: int, total: int) -> None:
        """Record the slices that a network has processed, and check for cancellation."""
        self.slices[network] = SliceProgress(done=done, total=total)
        self.check_cancelled()

    def check_cancelled(self) -> None:
        """Raise, in the worker thread, once the job's task is cancelled."""
        from_thread.check_cancelled()

    @property
    def wait_s(self) -> float:
        """Seconds in the queue."""
        return self.timings_ms.get("wait", 0.0) / 1000

    @property
    def compute_s(self) -> float:
        """Seconds of work on the case, all stages together."""
        return sum(ms for stage, ms in self.timings_ms.items() if stage not in NOT_COMPUTING) / 1000
