"""What follows a case through the service: how long each stage took, and how far the networks are."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from anyio import from_thread

from service.schemas import SlicesDone

BEFORE_COMPUTING = ("receive", "wait")


class Stopwatch:
    """Milliseconds by stage, in the order in which the stages ran, and slices done by network."""

    def __init__(self) -> None:
        self.timings_ms: dict[str, float] = {}
        self.slices: dict[str, SlicesDone] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what runs inside."""
        started = perf_counter()
        yield
        self.timings_ms[name] = round(self.timings_ms.get(name, 0) + 1000 * (perf_counter() - started), 1)

    def advance(self, network: str, done: int, of: int) -> None:
        """Note how far a network is, and check."""
        self.slices[network] = SlicesDone(done=done, of=of)
        self.check()

    def check(self) -> None:
        """End the case, from within its thread, once its task is cancelled."""
        from_thread.check_cancelled()

    @property
    def wait_s(self) -> float:
        """Seconds in the queue."""
        return self.timings_ms.get("wait", 0.0) / 1000

    @property
    def compute_s(self) -> float:
        """Seconds of work on the case, its stages together."""
        return sum(ms for stage, ms in self.timings_ms.items() if stage not in BEFORE_COMPUTING) / 1000
