"""Growing pauses between the attempts of what keeps failing."""

from collections.abc import Callable
from time import monotonic

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 300.0


class Backoff:
    """When each subject, a peer or a study, is due for its next attempt; each pause is twice as long as the last."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._pauses: dict[str, tuple[float, float]] = {}  # length, and when it ends

    def is_due(self, subject: str) -> bool:
        """Whether the next attempt may be made."""
        _, end = self._pauses.get(subject, (0.0, 0.0))
        return self._clock() >= end

    def postpone(self, subject: str) -> None:
        """Start a pause after a failure."""
        length, _ = self._pauses.get(subject, (0.0, 0.0))
        length = min(max(FIRST_PAUSE_S, 2 * length), LONGEST_PAUSE_S)
        self._pauses[subject] = length, self._clock() + length

    def reset(self, subject: str) -> None:
        """Forget the failures after a success."""
        self._pauses.pop(subject, None)
