"""Maps exceptions to RFC 9457 problem details: status, type and title."""

from collections.abc import Mapping
from dataclasses import dataclass

from service import errors
from service.imaging import errors as imaging_errors
from service.schemas import Problem

TYPE_PREFIX = "urn:glioserve:problem:"


@dataclass(frozen=True)
class ProblemType:
    """A problem type (RFC 9457): its HTTP status, the last part of its URN, and its title."""

    status: int
    slug: str
    title: str


PROBLEM_TYPES: Mapping[type[Exception], ProblemType] = {
    imaging_errors.MalformedImageError: ProblemType(400, "malformed-image", "Not a readable image"),
    imaging_errors.OversizedImageError: ProblemType(413, "too-large", "Too large"),
    imaging_errors.ModalityError: ProblemType(422, "modalities", "Missing or duplicate modality"),
    imaging_errors.GeometryError: ProblemType(422, "geometry", "Unusable geometry"),
    imaging_errors.IntensityError: ProblemType(422, "intensities", "Unusable intensities"),
    imaging_errors.LabelError: ProblemType(422, "labels", "Unknown ground truth labels"),
    imaging_errors.PreparationError: ProblemType(422, "preparation", "Raw scan cannot be prepared"),
    errors.BrokenArchiveError: ProblemType(400, "broken-archive", "Not a readable zip"),
    errors.UnsafeArchiveError: ProblemType(400, "unsafe-archive", "Unsafe zip"),
    errors.TooLargeError: ProblemType(413, "too-large", "Too large"),
    errors.UnsupportedMediaTypeError: ProblemType(415, "media-type", "Unsupported media type"),
    errors.NotAcceptableError: ProblemType(406, "not-acceptable", "No acceptable media type"),
    errors.UploadError: ProblemType(400, "malformed-upload", "Not a readable upload"),
    errors.StalledUploadError: ProblemType(408, "stalled-upload", "Upload stalled"),
    errors.UnauthenticatedError: ProblemType(401, "unauthenticated", "Missing or invalid API key"),
    errors.ForbiddenError: ProblemType(403, "forbidden", "Not allowed"),
    errors.RateLimitError: ProblemType(429, "rate-limited", "Too many requests"),
    errors.NotReadyError: ProblemType(503, "not-ready", "Not ready"),
    errors.QueueFullError: ProblemType(429, "queue-full", "Queue full"),
    errors.SpoolError: ProblemType(507, "spool-full", "Insufficient disk space"),
    errors.IdempotencyKeyReusedError: ProblemType(409, "key-reused", "Idempotency-Key already used for another case"),
    errors.JobNotFoundError: ProblemType(404, "job-not-found", "Job not found"),
    errors.JobNotFinishedError: ProblemType(409, "job-not-finished", "Job not finished"),
    errors.LostFileError: ProblemType(500, "lost-file", "A file of the job was lost"),
    errors.CrashError: ProblemType(500, "crash", "Processing of the case crashed or timed out"),
}
INVALID_PARAMETER = ProblemType(422, "invalid-parameter", "Invalid parameter")
INTERNAL = ProblemType(500, "internal", "Internal error")


def problem_of(error: Exception) -> Problem:
    """The problem that an error maps to; an unknown error becomes an internal one without details."""
    if kind := PROBLEM_TYPES.get(type(error)):
        return make_problem(kind, str(error))
    return make_problem(INTERNAL, "The service failed on this request; its log has the reason.")


def make_problem(kind: ProblemType, detail: str) -> Problem:
    """A problem of a kind."""
    return Problem(type=TYPE_PREFIX + kind.slug, title=kind.title, status=kind.status, detail=detail)


def is_internal(error: Exception) -> bool:
    """Whether an error is an unforeseen failure of the service itself."""
    return type(error) not in PROBLEM_TYPES
