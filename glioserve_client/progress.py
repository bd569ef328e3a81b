"""The progress of a case, as it is reported while the client sends it and waits for its result."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """What happens to a case at the moment."""

    UPLOADING = "uploading"
    WAITING = "waiting"  # in the queue of the service
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    RETRYING = "retrying"  # the service could not be reached, or refuses cases for now


@dataclass(frozen=True)
class SliceProgress:
    """How many slices a network has processed."""

    done: int
    total: int


@dataclass(frozen=True)
class Progress:
    """The progress of a case at one moment."""

    state: State
    sent_bytes: int = 0
    total_bytes: int = 0  # of the upload
    job_id: str | None = None  # once the service has accepted the case
    queue_position: int | None = None  # 1 for the next case; None unless it is waiting
    stage: str | None = None  # what is done now, such as `predict_wt`; None unless it is running
    slices: Mapping[str, SliceProgress] = field(default_factory=dict)  # by network; absent before it starts
    estimated_remaining_s: float | None = None
    reason: str | None = None  # why the client tries again


ProgressCallback = Callable[[Progress], None]


def read_status(status: Mapping[str, Any]) -> Progress:
    """The progress of a job, from its status as the service sends it."""
    return Progress(
        State(status["state"]),
        job_id=status["id"],
        queue_position=status["queue_position"],
        stage=status["stage"],
        slices={name: SliceProgress(**counts) for name, counts in status["slices"].items()},
        estimated_remaining_s=status["estimated_remaining_s"],
    )


def ignore_progress(_: Progress) -> None:
    """Report to no one."""
