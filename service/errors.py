"""What the web service refuses before the core sees it, as one tree.

RequestError
├── BrokenArchiveError          the zip is damaged, encrypted or not a zip
├── TooLargeError               the body, or what it unpacks to, is over a limit
├── UnsupportedMediaTypeError   a body that is neither a zip nor multipart
├── NotAcceptableError          no media type that the client accepts
├── UploadError                 multipart parts that make no case
└── NotReadyError               weights are not loaded yet

SettingsError                   the service is set up wrongly; it does not start
BenchError                      a measurement that came to nothing
"""


class RequestError(Exception):
    """Root of what the service refuses; messages name what was expected and what came."""


class BrokenArchiveError(RequestError):
    """The zip is damaged, encrypted or not a zip."""


class TooLargeError(RequestError):
    """The body, or what it unpacks to, is over a limit."""


class UnsupportedMediaTypeError(RequestError):
    """A body that is neither a zip nor multipart."""


class NotAcceptableError(RequestError):
    """No media type that the client accepts."""


class UploadError(RequestError):
    """Multipart parts that make no case."""


class NotReadyError(RequestError):
    """Weights are not loaded yet."""


class SettingsError(Exception):
    """The service is set up wrongly; it does not start."""


class BenchError(Exception):
    """A measurement that came to nothing."""
