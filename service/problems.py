"""One table from errors to RFC 9457 problems, and the handlers that render it."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPMethod, HTTPStatus
from typing import Any, cast

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match

from service import errors
from service.door import SCHEME
from service.schemas import REQUEST_ID_HEADER, Problem
from service.segmentation import errors as core

MEDIA_TYPE = "application/problem+json"
PREFIX = "urn:glioserve:problem:"
NOBODY = 499  # nginx's number for a client that closed its request, for the log alone


@dataclass(frozen=True)
class Kind:
    """A kind of problem: its HTTP status, the last word of its type, and its title."""

    status: int
    slug: str
    title: str


KINDS: Mapping[type[Exception], Kind] = {
    core.MalformedImageError: Kind(400, "malformed-image", "Not a readable NIfTI image"),
    core.OversizedImageError: Kind(413, "too-large", "Too large"),
    core.ModalityError: Kind(422, "modalities", "Wrong set of modalities"),
    core.GeometryError: Kind(422, "geometry", "Unusable geometry"),
    core.IntensityError: Kind(422, "intensities", "Unusable intensities"),
    core.LabelError: Kind(422, "labels", "Unknown ground truth labels"),
    errors.BrokenArchiveError: Kind(400, "broken-archive", "Not a readable zip"),
    errors.UnsafeArchiveError: Kind(400, "unsafe-archive", "A zip that could do harm"),
    errors.TooLargeError: Kind(413, "too-large", "Too large"),
    errors.UnsupportedMediaTypeError: Kind(415, "media-type", "Unsupported media type"),
    errors.NotAcceptableError: Kind(406, "not-acceptable", "No acceptable media type"),
    errors.UploadError: Kind(400, "malformed-upload", "Not a readable upload"),
    errors.StalledUploadError: Kind(408, "stalled-upload", "Upload stalled"),
    errors.UnauthenticatedError: Kind(401, "unauthenticated", "No key in force"),
    errors.ForbiddenError: Kind(403, "forbidden", "Not allowed"),
    errors.RateLimitError: Kind(429, "rate-limited", "Too many requests"),
    errors.NotReadyError: Kind(503, "not-ready", "Not ready"),
    errors.QueueFullError: Kind(429, "queue-full", "Queue full"),
    errors.SpoolError: Kind(507, "spool-full", "No room on disk"),
    errors.KeyReusedError: Kind(409, "key-reused", "Idempotency-Key of another case"),
    errors.JobNotFoundError: Kind(404, "job-not-found", "No such job"),
    errors.JobNotFinishedError: Kind(409, "job-not-finished", "Job not finished"),
    errors.LostFileError: Kind(500, "lost-file", "A file of the job is lost"),
    errors.CrashError: Kind(500, "crash", "The service crashed on this case"),
}
INVALID_PARAMETER = Kind(422, "invalid-parameter", "Invalid parameter")
INTERNAL = Kind(500, "internal", "Internal error")


def add_handlers(app: FastAPI) -> None:
    """Render every error of the app as a problem."""
    for error in KINDS:
        app.add_exception_handler(error, _answer_known)
    app.add_exception_handler(RequestValidationError, _answer_invalid_parameter)
    app.add_exception_handler(HTTPException, _answer_http_exception)
    app.add_exception_handler(ClientDisconnect, _answer_nobody)
    app.add_exception_handler(Exception, _answer_internal)


def problem_of(error: Exception) -> Problem:
    """The problem that an error is; of one that is in no table, an internal one without details."""
    if kind := KINDS.get(type(error)):
        return _problem(kind, str(error))
    return _problem(INTERNAL, "The service failed on this request; its log says why.")


def is_internal(error: Exception) -> bool:
    """Whether an error is a failure of our own that no table foresees."""
    return type(error) not in KINDS


def render(request: Request, problem: Problem, retry_after_s: int | None = None) -> Response:
    """The answer that tells a problem; the request's log line names it too."""
    request.state.facts["problem"] = problem.type.removeprefix(PREFIX)
    headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
    if problem.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = SCHEME  # RFC 9110, section 11.6.1
    return JSONResponse(problem.model_dump(), problem.status, headers, MEDIA_TYPE)


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI entries of a route that can answer with these statuses."""
    return {status: _response(status) for status in statuses}


def _response(status: int) -> dict[str, Any]:
    kinds = [kind for kind in dict.fromkeys((*KINDS.values(), INVALID_PARAMETER, INTERNAL)) if kind.status == status]
    schema = Problem.model_json_schema()
    schema["properties"]["type"]["enum"] = [PREFIX + kind.slug for kind in kinds]
    return {"description": "; ".join(kind.title for kind in kinds), "content": {MEDIA_TYPE: {"schema": schema}}}


async def _answer_known(request: Request, error: Exception) -> Response:
    return render(request, problem_of(error), getattr(error, "retry_after_s", None))


async def _answer_invalid_parameter(request: Request, error: Exception) -> Response:
    faults = (
        f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in cast(RequestValidationError, error).errors()
    )
    return render(request, _problem(INVALID_PARAMETER, "; ".join(faults)))


async def _answer_http_exception(request: Request, error: Exception) -> Response:
    """What the framework refuses by itself, such as an unknown path or method."""
    refusal = cast(HTTPException, error)
    title = HTTPStatus(refusal.status_code).phrase
    problem = Problem(type="about:blank", title=title, status=refusal.status_code, detail=refusal.detail)
    headers = refusal.headers
    if refusal.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers = {"Allow": ", ".join(_allowed_methods(request))}
    return JSONResponse(problem.model_dump(), problem.status, headers, MEDIA_TYPE)


def _allowed_methods(request: Request) -> list[str]:
    """All methods of an address; the framework names those of the first of its routes alone."""
    return [
        method
        for method in HTTPMethod
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in request.app.routes)
    ]


async def _answer_nobody(_: Request, __: Exception) -> Response:
    """A client that hung up: no failure of the service, and no one to tell."""
    return Response(status_code=NOBODY)


async def _answer_internal(request: Request, error: Exception) -> Response:
    """What nobody foresaw: answered outside all middleware, so that the id by which the log is searched comes here."""
    response = render(request, problem_of(error))
    response.headers[REQUEST_ID_HEADER] = request.state.request_id
    return response


def _problem(kind: Kind, detail: str) -> Problem:
    return Problem(type=PREFIX + kind.slug, title=kind.title, status=kind.status, detail=detail)
