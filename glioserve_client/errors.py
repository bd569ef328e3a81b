"""What can go wrong between a client and the service.

GlioServeError
├── InvalidCaseError        what was given is not a case that can be sent
├── ConnectionFailedError   no connection, or it broke, until the client gave up
├── ProblemError            the service refused the request, or the case failed (RFC 9457)
└── UnexpectedAnswerError   an answer that is not GlioServe's: another server, or a proxy
"""

TYPE_PREFIX = "urn:glioserve:problem:"
NO_TYPE = "about:blank"  # RFC 9457, section 4.2.1


class GlioServeError(Exception):
    """An error between a client and the service. Messages never contain the API key."""


class InvalidCaseError(GlioServeError):
    """What was given is not a case that can be sent."""


class ConnectionFailedError(GlioServeError):
    """There was no connection, or it broke, until the client gave up."""


class ProblemError(GlioServeError):
    """The service refused the request, or the case failed: a problem as in RFC 9457."""

    def __init__(
        self, problem_type: str, title: str, status: int, detail: str, retry_after_s: int | None = None
    ) -> None:
        super().__init__(f"{title} ({status}): {detail}")
        self.type, self.title, self.status, self.detail = problem_type, title, status, detail
        self.retry_after_s = retry_after_s  # None if the service did not say

    @property
    def kind(self) -> str:
        """The last part of the type, such as `modalities`; these are listed in docs/errors.md."""
        return self.type.removeprefix(TYPE_PREFIX)


class UnexpectedAnswerError(GlioServeError):
    """The answer is not one of GlioServe: the address is that of another server, or a proxy replaced the answer."""
