"""Python client of GlioServe. Needs neither torch nor the service's own package."""

from glioserve_client.async_client import AsyncClient
from glioserve_client.case import Case, Image
from glioserve_client.client import Client
from glioserve_client.errors import (
    ConnectionFailedError,
    GlioServeError,
    InvalidCaseError,
    ProblemError,
    UnexpectedAnswerError,
)
from glioserve_client.options import Options
from glioserve_client.progress import Progress, SliceProgress, State
from glioserve_client.result import Result

__all__ = [
    "AsyncClient",
    "Case",
    "Client",
    "ConnectionFailedError",
    "GlioServeError",
    "Image",
    "InvalidCaseError",
    "Options",
    "ProblemError",
    "Progress",
    "Result",
    "SliceProgress",
    "State",
    "UnexpectedAnswerError",
]
