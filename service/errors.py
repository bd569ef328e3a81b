"""Exception hierarchy of the web service. Those of the core are in imaging.errors and networks.errors.

RequestError                    a request that is refused, or a case that fails
├── BrokenArchiveError          an archive that is damaged, encrypted or not a zip
├── UnsafeArchiveError          a zip with unsafe entries: links, duplicates, overlaps, paths that leave it
├── TooLargeError               the body, or its unpacked content, exceeds a limit
├── UnsupportedMediaTypeError   a body that is neither a zip nor multipart
├── NotAcceptableError          the client accepts none of the media types of the response
├── UploadError                 multipart parts that do not form a case
├── StalledUploadError          an upload that stopped or became too slow
├── UnauthenticatedError        a missing or invalid API key
├── ForbiddenError              an API key without the required scope, or a disallowed origin or host name
├── RateLimitError              too many requests for an API key
├── NotReadyError               the model is still loading, or the service is shutting down
├── QueueFullError              the queue is full
├── SpoolError                  the spool cannot be written, or its size limit is reached
├── IdempotencyKeyReusedError   an Idempotency-Key that was used for another case
├── JobNotFoundError            an unknown, removed or expired job
├── JobNotFinishedError         a result that does not exist yet
├── LostFileError               a job's file or record that is missing, changed or unreadable
└── CrashError                  a case that crashes or hangs the process that works on it

DecodingError                   reading a case failed for an internal reason
SettingsError                   invalid settings; the service does not start
BenchError                      a benchmark that failed
HealthError                     a service that does not report that it is alive
SelftestError                   no usable recorded label map to compare with
"""


class RequestError(Exception):
    """A request that is refused, or a case that fails. Messages say what was expected and what was found."""

    def __init__(self, message: str, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s  # None if retrying does not help


class BrokenArchiveError(RequestError):
    """An archive that is damaged, encrypted or not a zip."""


class UnsafeArchiveError(RequestError):
    """A zip with unsafe entries: links, duplicates, overlaps, nested archives, or paths that lead out of it."""


class TooLargeError(RequestError):
    """The body, or its unpacked content, exceeds a limit."""


class UnsupportedMediaTypeError(RequestError):
    """A body that is neither a zip nor multipart."""


class NotAcceptableError(RequestError):
    """The client accepts none of the media types of the response."""


class UploadError(RequestError):
    """Multipart parts that do not form a case."""


class StalledUploadError(RequestError):
    """An upload that stopped or became too slow."""


class UnauthenticatedError(RequestError):
    """A missing or invalid API key."""


class ForbiddenError(RequestError):
    """An API key without the required scope, a disallowed cross-origin request, or a disallowed host name."""


class RateLimitError(RequestError):
    """Too many requests for an API key."""


class NotReadyError(RequestError):
    """The model is still loading, or the service is shutting down."""


class QueueFullError(RequestError):
    """The queue is full."""


class SpoolError(RequestError):
    """The spool cannot be written, for example because the disk is full, or its size limit is reached."""


class IdempotencyKeyReusedError(RequestError):
    """An Idempotency-Key that was used for another case."""


class JobNotFoundError(RequestError):
    """An unknown, removed or expired job."""


class JobNotFinishedError(RequestError):
    """A result that does not exist yet."""


class LostFileError(RequestError):
    """A job's file or record that is missing, changed or unreadable."""


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
    """No usable recorded label map to compare with: it is missing, damaged or of another shape."""
