"""Estimates of waiting times from the computing times of recent cases."""

from collections import deque
from math import ceil
from statistics import median

RECENT_CASES = 9
INITIAL_ESTIMATE_S = 2.0  # before the first case


class WaitEstimate:
    """Predicts that each case takes the median time of recent ones."""

    def __init__(self) -> None:
        self._recent_s: deque[float] = deque([INITIAL_ESTIMATE_S], maxlen=RECENT_CASES)

    def add(self, compute_s: float) -> None:
        """Add the computing time of a finished case."""
        self._recent_s.append(compute_s)

    def remaining_s(self, cases: int, elapsed_s: float = 0.0) -> float:
        """Remaining seconds for this number of consecutive cases, if the first has been running for `elapsed_s`."""
        return round(max(0.0, cases * median(self._recent_s) - elapsed_s), 1)

    def half_empty_s(self, depth: int) -> int:
        """Seconds until half of the queue is done: by then it has room, and the service is still busy."""
        return ceil(self.remaining_s(depth + 1) / 2)
