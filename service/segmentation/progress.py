"""How the pipeline reports its progress, and how a caller can cancel it."""

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class ProgressObserver(Protocol):
    """Called while a case is processed; an exception that it raises cancels the case."""

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Entered around each stage."""

    def advance(self, network: str, done: int, total: int) -> None:
        """Called before a network's first slice batch and after each batch, with the number of slices done."""


class _NoObserver:
    """Observes nothing."""

    def stage(self, _: str) -> AbstractContextManager[None]:
        """Do nothing."""
        return nullcontext()

    def advance(self, network: str, done: int, total: int) -> None:
        """Do nothing."""


NO_OBSERVER = _NoObserver()
