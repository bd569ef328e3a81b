"""Access control: API keys, scopes, rate limits, and the origins and host names that may be used."""

import re
from dataclasses import dataclass

from service.errors import ForbiddenError, UnauthenticatedError
from service.security.keys import Keys, Scope
from service.security.rate_limit import TokenBucket
from service.settings import Settings, is_loopback

SCHEME = "Bearer"  # RFC 6750


@dataclass(frozen=True)
class Caller:
    """Who sent a request."""

    key_id: str | None  # None if no API key is required
    scopes: frozenset[Scope]

    def may(self, scope: Scope) -> bool:
        """Whether the caller has this scope."""
        return scope in self.scopes or Scope.ADMIN in self.scopes

    def owns(self, owner: str | None) -> bool:
        """Whether the caller may see and remove what belongs to this key id."""
        return self.key_id == owner or Scope.ADMIN in self.scopes


ANONYMOUS = Caller(None, frozenset(Scope))


class AccessControl:
    """Decides which requests are allowed, as the settings say."""

    def __init__(self, settings: Settings) -> None:
        self.keys = Keys(settings.keys_file) if settings.keys_file else None
        self._buckets: dict[str, TokenBucket] = {}
        self._requests_per_minute = settings.requests_per_minute
        self._origins = settings.origins
        self._is_loopback_only = settings.is_loopback_only

    def authenticate(self, key: str | None) -> Caller:
        """The caller that an API key belongs to. Raises UnauthenticatedError."""
        if self.keys is None:
            return ANONYMOUS
        if key is None:
            raise UnauthenticatedError(f"Missing API key. Send it as: Authorization: {SCHEME} KEY.")
        known = self.keys.find(key)
        if known is None:
            raise UnauthenticatedError("Invalid API key: it is unknown or revoked.")
        return Caller(known.id, frozenset(known.scopes))

    def authorise(self, caller: Caller, scope: Scope) -> None:
        """Check the rate limit of a caller, and that it has a scope. Raises ForbiddenError or RateLimitError."""
        if caller.key_id:
            self._buckets.setdefault(caller.key_id, TokenBucket(self._requests_per_minute)).take()
        if not caller.may(scope):
            found = ", ".join(sorted(caller.scopes))
            raise ForbiddenError(f"API key: expected one with the scope {scope}, found {found}.")

    def check_origin(self, origin: str | None, host: str) -> None:
        """Reject cross-origin requests from browsers, and DNS rebinding. Raises ForbiddenError.

        Browsers send the Origin header; other clients do not. In a DNS rebinding attack, a page reaches this machine
        through a host name of its own that resolves to a loopback address.
        """
        is_cross_origin = origin is not None and not origin.lower().endswith(f"://{host.lower()}")
        if is_cross_origin and origin not in self._origins and "*" not in self._origins:
            raise ForbiddenError("Origin: expected this service, or one of GLIOSERVE_CORS_ORIGINS, found another.")
        if self._is_loopback_only and not is_loopback(_without_port(host)):
            raise ForbiddenError(
                "Host: expected a loopback address, as no API key is required, found another. "
                "Set up API keys (GLIOSERVE_KEYS_FILE), or set GLIOSERVE_ALLOW_UNAUTHENTICATED=true."
            )


def _without_port(host: str) -> str:
    """The name or address in a Host header (RFC 9110, section 7.2), in lower case and without the dot of the root."""
    return re.sub(r":\d*$", "", host).strip("[]").lower().removesuffix(".")
