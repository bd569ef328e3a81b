"""The rate limit of an API key."""

from math import ceil
from time import monotonic

from service.errors import RateLimitError


class TokenBucket:
    """Allows a burst of one minute's requests, and refills continuously."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._tokens = float(per_minute)
        self._refilled_at = monotonic()

    def take(self) -> None:
        """Take one token. Raises RateLimitError if there is none."""
        now = monotonic()
        self._tokens = min(self._per_minute, self._tokens + (now - self._refilled_at) * self._per_minute / 60)
        self._refilled_at = now
        if self._tokens < 1:
            raise RateLimitError(
                f"Too many requests for this API key: at most {self._per_minute} a minute are allowed.",
                retry_after_s=ceil((1 - self._tokens) * 60 / self._per_minute),
            )
        self._tokens -= 1
