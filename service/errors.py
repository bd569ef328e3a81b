"""Errors of the web service, as one tree. Errors of the core are in imaging.errors and networks.errors.

RequestError                    a request that is refused, or a case that fails
├── BrokenArchiveError          the zip is damaged, encrypted or not a zip
├── UnsafeArchiveError          a zip with entries that no honest tool writes
├── TooLargeError               the body, or its unpacked content, exceeds a limit
├── UnsupportedMediaTypeError   a body that is neither a zip nor multipart
├── NotAcceptableError          no media type of the answer that the client accepts
├── UploadError                 multipart parts that do not form a case
├── StalledUploadError          an upload that stopped or became too slow
├── UnauthenticatedError        a missing or invalid API key
├── ForbiddenError              an API key without the scope, or a cross-origin request
├── RateLimitError              too many requests for an API key
├── NotReadyError               the model is still loading, or the service is shutting down
├── QueueFullError              the queue is full
├── SpoolError                  the disk, or the spool's share of it, is full
├── KeyReusedError              an Idempotency-Key that was used for another case
├── JobNotFoundError            an unknown, removed or expired job
├── JobNotFinishedError         a result that does not exist yet
├── LostFileError               a job's file that is missing or unreadable
└── CrashError                  a case that crashes or hangs the process that works on it

DecodingError                   reading a case failed for an internal reason
SettingsError                   invalid settings; the service does not start
BenchError                      a benchmark that failed
HealthError                     a service that does not report that it is alive
SelftestError                   no recorded mask to compare with
"""


class RequestError(Exception):
    """A request that is refused, or a case that fails. Messages say what was expected and what was found."""

    def __init__(self, message: str, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s  # None where retrying does not help


class BrokenArchiveError(RequestError):
    """The zip is damaged, encrypted or not a zip."""


class UnsafeArchiveError(RequestError):
    """A zip with entries that no honest tool writes."""


class TooLargeError(RequestError):
    """The body, or its unpacked content, exceeds a limit."""


class UnsupportedMediaTypeError(RequestError):
    """A body that is neither a zip nor multipart."""


class NotAcceptableError(RequestError):
    """No media type of the answer that the client accepts."""


class UploadError(RequestError):
    """Multipart parts that do not form a case."""


class StalledUploadError(RequestError):
    """An upload that stopped or became too slow."""


class UnauthenticatedError(RequestError):
    """A missing or invalid API key."""


class ForbiddenError(RequestError):
    """An API key without the scope, or a cross-origin request."""


class RateLimitError(RequestError):
    """Too many requests for an API key."""


class NotReadyError(RequestError):
    """The model is still loading, or the service is shutting down."""


class QueueFullError(RequestError):
    """The queue is full."""


class SpoolError(RequestError):
    """The disk, or the spool's share of it, is full."""


class KeyReusedError(RequestError):
    """An Idempotency-Key that was used for another case."""


class JobNotFoundError(RequestError):
    """An unknown, removed or expired job."""


class JobNotFinishedError(RequestError):
    """A result that does not exist yet."""


class LostFileError(RequestError):
    """A job's file that is missing or unreadable."""


class CrashError(RequestError):
    """A case that crashes or hangs the process that works on it."""


class DecodingError(Exception):
    """Reading a case failed for an internal reason."""


class SettingsError(Exception):
    """Invalid settings; the service does not start."""


class BenchError(Exception):
    """A benchmark that failed."""


class HealthError(Exception):
    """A service that does not report that it is alive."""


class SelftestError(Exception):
    """No recorded mask to compare with."""
