"""Who may come in: the key of a request, what it is good for, and how often it may knock."""

import re
from dataclasses import dataclass
from math import ceil
from time import monotonic

from service.errors import ForbiddenError, RateLimitError, UnauthenticatedError
from service.keys import Keys, Scope
from service.settings import Settings, is_loopback

SCHEME = "Bearer"  # RFC 6750


@dataclass(frozen=True)
class Caller:
    """Who sent a request."""

    key_id: str | None  # None where nobody needs a key
    scopes: frozenset[Scope]

    def may(self, scope: Scope) -> bool:
        """Whether the caller may do what needs this scope."""
        return scope in self.scopes or Scope.ADMIN in self.scopes

    def owns(self, owner: str | None) -> bool:
        """Whether what belongs to a key is the caller's to see and to remove."""
        return self.key_id == owner or Scope.ADMIN in self.scopes


ANYONE = Caller(None, frozenset(Scope))


class Door:
    """Lets in whom the settings let in."""

    def __init__(self, settings: Settings) -> None:
        self.keys = Keys(settings.keys) if settings.keys else None
        self._allowances: dict[str, Allowance] = {}
        self._requests_per_minute = settings.requests_per_minute
        self._origins = settings.origins
        self._for_this_machine = settings.for_this_machine

    def identify(self, key: str | None) -> Caller:
        """The caller with a key. Raises UnauthenticatedError."""
        if self.keys is None:
            return ANYONE
        if key is None:
            raise UnauthenticatedError(f"Authorization: expected {SCHEME} and a key, found none.")
        known = self.keys.find(key)
        if known is None:
            raise UnauthenticatedError("Authorization: expected a key in force, found one unknown or revoked.")
        return Caller(known.id, frozenset(known.scopes))

    def admit(self, caller: Caller, scope: Scope) -> None:
        """Let a caller in to what needs a scope. Raises ForbiddenError or RateLimitError."""
        if caller.key_id:
            self._allowances.setdefault(caller.key_id, Allowance(self._requests_per_minute)).take()
        if not caller.may(scope):
            raise ForbiddenError(f"Key: expected one with the scope {scope}, found {', '.join(sorted(caller.scopes))}.")

    def check_page(self, origin: str | None, host: str) -> None:
        """Keep out what a page of another origin sends, with or without its user's knowledge. Raises ForbiddenError.

        Browsers name the origin; what is no page does not. A name that leads a page to this machine by trickery (DNS
        rebinding) is not one of its own.
        """
        of_a_page = origin is not None and not origin.endswith(f"://{host}")
        if of_a_page and origin not in self._origins and "*" not in self._origins:
            raise ForbiddenError("Origin: expected this service, or one of GLIOSERVE_CORS_ORIGINS, found another.")
        if self._for_this_machine and not is_loopback(_without_port(host)):
            raise ForbiddenError(
                "Host: expected a loopback address, as nobody needs a key here, found another; "
                "GLIOSERVE_OPEN_TO_ANYONE=true allows it."
            )


def _without_port(host: str) -> str:
    """The name or address in a Host header (RFC 9110, section 7.2)."""
    return re.sub(r":\d*$", "", host).strip("[]")


class Allowance:
    """The requests that a key may make now: a minute's worth at once, and refilled all the time."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._left = float(per_minute)
        self._counted = monotonic()

    def take(self) -> None:
        """Take one. Raises RateLimitError where none is left."""
        now = monotonic()
        self._left = min(self._per_minute, self._left + (now - self._counted) * self._per_minute / 60)
        self._counted = now
        if self._left < 1:
            raise RateLimitError(
                f"Key: expected at most {self._per_minute} requests a minute, found more.",
                retry_after_s=ceil((1 - self._left) * 60 / self._per_minute),
            )
        self._left -= 1
