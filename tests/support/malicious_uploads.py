"""A malicious upload."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class MaliciousUpload:
    """A zip and the expected problem."""

    make_body: Callable[[], bytes]
    status: int
    kind: str
    phrase: str  # part of the problem's detail
