"""What the web service refuses before the core sees it, or fails at beside it, as one tree.

RequestError
├── BrokenArchiveError          the zip is damaged, encrypted or not a zip
├── UnsafeArchiveError          the zip is made as only one is that is to do harm
├── TooLargeError               the body, or what it unpacks to, is over a limit
├── UnsupportedMediaTypeError   a body that is neither a zip nor multipart
├── NotAcceptableError          no media type that the client accepts
├── UploadError                 multipart parts that make no case
├── StalledUploadError          a body that stopped coming
├── UnauthenticatedError        no key, or none in force
├── ForbiddenError              a key without the scope, or a page of another origin
├── RateLimitError              a key that asks too often
├── NotReadyError               weights are not loaded yet, or the service is ending
├── QueueFullError              as many cases wait as may
├── SpoolError                  the disk, or the share of it that is for cases, takes nothing more
├── KeyReusedError              an Idempotency-Key that came with another case before
├── JobNotFoundError            no such job: unknown, removed or expired
├── JobNotFinishedError         the result of a job that waits or runs
├── LostFileError               a file of a job that is gone from the disk, or unreadable
└── CrashError                  a case that ends, or holds up for ever, the process that works on it

DecodingError                   reading a case failed for a reason of our own
SettingsError                   the service is set up wrongly; it does not start
BenchError                      a measurement that came to nothing
HealthError                     a service that does not say that it is alive
SelftestError                   nothing to compare the answer of this machine with
"""


class RequestError(Exception):
    """Root of what the service refuses; messages name what was expected and what came."""

    def __init__(self, message: str, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s  # when asking again makes sense; None where it never does


class BrokenArchiveError(RequestError):
    """The zip is damaged, encrypted or not a zip."""


class UnsafeArchiveError(RequestError):
    """The zip is made as only one is that is to do harm."""


class TooLargeError(RequestError):
    """The body, or what it unpacks to, is over a limit."""


class UnsupportedMediaTypeError(RequestError):
    """A body that is neither a zip nor multipart."""


class NotAcceptableError(RequestError):
    """No media type that the client accepts."""


class UploadError(RequestError):
    """Multipart parts that make no case."""


class StalledUploadError(RequestError):
    """A body that stopped coming."""


class UnauthenticatedError(RequestError):
    """No key, or none in force."""


class ForbiddenError(RequestError):
    """A key without the scope, or a page of another origin."""


class RateLimitError(RequestError):
    """A key that asks too often."""


class NotReadyError(RequestError):
    """Weights are not loaded yet, or the service is ending."""


class QueueFullError(RequestError):
    """As many cases wait as may."""


class SpoolError(RequestError):
    """The disk, or the share of it that is for cases, takes nothing more."""


class KeyReusedError(RequestError):
    """An Idempotency-Key that came with another case before."""


class JobNotFoundError(RequestError):
    """No such job: unknown, removed or expired."""


class JobNotFinishedError(RequestError):
    """The result of a job that waits or runs."""


class LostFileError(RequestError):
    """A file of a job that is gone from the disk, or unreadable."""


class CrashError(RequestError):
    """A case that ends, or holds up for ever, the process that works on it."""


class DecodingError(Exception):
    """Reading a case failed for a reason of our own."""


class SettingsError(Exception):
    """The service is set up wrongly; it does not start."""


class BenchError(Exception):
    """A measurement that came to nothing."""


class HealthError(Exception):
    """A service that does not say that it is alive."""


class SelftestError(Exception):
    """Nothing to compare the answer of this machine with."""
