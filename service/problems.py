"""The table from errors to RFC 9457 problems: status, type and title."""

from collections.abc import Mapping
from dataclasses import dataclass

from service import errors
from service.imaging import errors as imaging_errors
from service.schemas import Problem

TYPE_PREFIX = "urn:glioserve:problem:"


@dataclass(frozen=True)
class Kind:
    """A kind of problem: its HTTP status, the last part of its type, and its title."""

    status: int
    slug: str
    title: str


KINDS: Mapping[type[Exception], Kind] = {
    imaging_errors.MalformedImageError: Kind(400, "malformed-image", "Not a readable NIfTI image"),
    imaging_errors.OversizedImageError: Kind(413, "too-large", "Too large"),
    imaging_errors.ModalityError: Kind(422, "modalities", "Missing or duplicate modality"),
    imaging_errors.GeometryError: Kind(422, "geometry", "Unusable geometry"),
    imaging_errors.IntensityError: Kind(422, "intensities", "Unusable intensities"),
    imaging_errors.LabelError: Kind(422, "labels", "Unknown ground truth labels"),
    errors.BrokenArchiveError: Kind(400, "broken-archive", "Not a readable zip"),
    errors.UnsafeArchiveError: Kind(400, "unsafe-archive", "Unsafe zip"),
    errors.TooLargeError: Kind(413, "too-large", "Too large"),
    errors.UnsupportedMediaTypeError: Kind(415, "media-type", "Unsupported media type"),
    errors.NotAcceptableError: Kind(406, "not-acceptable", "No acceptable media type"),
    errors.UploadError: Kind(400, "malformed-upload", "Not a readable upload"),
    errors.StalledUploadError: Kind(408, "stalled-upload", "Upload stalled"),
    errors.UnauthenticatedError: Kind(401, "unauthenticated", "Missing or invalid API key"),
    errors.ForbiddenError: Kind(403, "forbidden", "Not allowed"),
    errors.RateLimitError: Kind(429, "rate-limited", "Too many requests"),
    errors.NotReadyError: Kind(503, "not-ready", "Not ready"),
    errors.QueueFullError: Kind(429, "queue-full", "Queue full"),
    errors.SpoolError: Kind(507, "spool-full", "Insufficient disk space"),
    errors.KeyReusedError: Kind(409, "key-reused", "Idempotency-Key already used for another case"),
    errors.JobNotFoundError: Kind(404, "job-not-found", "Job not found"),
    errors.JobNotFinishedError: Kind(409, "job-not-finished", "Job not finished"),
    errors.LostFileError: Kind(500, "lost-file", "A file of the job was lost"),
    errors.CrashError: Kind(500, "crash", "The case crashed the service"),
}
INVALID_PARAMETER = Kind(422, "invalid-parameter", "Invalid parameter")
INTERNAL = Kind(500, "internal", "Internal error")


def problem_of(error: Exception) -> Problem:
    """The problem that an error maps to; an unknown error becomes an internal one without details."""
    if kind := KINDS.get(type(error)):
        return make_problem(kind, str(error))
    return make_problem(INTERNAL, "The service failed on this request; its log has the reason.")


def make_problem(kind: Kind, detail: str) -> Problem:
    """A problem of a kind."""
    return Problem(type=TYPE_PREFIX + kind.slug, title=kind.title, status=kind.status, detail=detail)


def is_internal(error: Exception) -> bool:
    """Whether an error is an unforeseen failure of the service itself."""
    return type(error) not in KINDS
