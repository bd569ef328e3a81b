"""What follows a case on its way: to time it, to show how far it is, or to end it."""

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Watch(Protocol):
    """Called as a case goes on; what it raises ends the case."""

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Entered around each stage."""

    def advance(self, network: str, done: int, of: int) -> None:
        """Called before a network's first slice batch and after each: how many of its slices are done."""


class Unwatched:
    """Follows nothing."""

    def stage(self, _: str) -> AbstractContextManager[None]:
        """Do nothing."""
        return nullcontext()

    def advance(self, network: str, done: int, of: int) -> None:
        """Do nothing."""


UNWATCHED = Unwatched()
