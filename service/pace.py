"""How long cases take, told from recent ones."""

from collections import deque
from math import ceil
from statistics import median

RECENT_CASES = 9  # whose median time stands for the time of those to come
FIRST_GUESS_S = 2.0  # before any


class Pace:
    """The time of recent cases, and what it says about those to come."""

    def __init__(self) -> None:
        self._recent_s: deque[float] = deque([FIRST_GUESS_S], maxlen=RECENT_CASES)

    def add(self, compute_s: float) -> None:
        """Take a case into account that was worked on for so many seconds."""
        self._recent_s.append(compute_s)

    def left_s(self, cases: int, done_s: float = 0.0) -> float:
        """Seconds that so many cases will take, one after the other, where the first has had some already."""
        return round(max(0.0, cases * median(self._recent_s) - done_s), 1)

    def until_half_empty_s(self, depth: int) -> int:
        """When half of a queue will be through: there is room then, and work is left for the meantime."""
        return ceil(self.left_s(depth + 1) / 2)
