"""One table from errors to RFC 9457 problems, and the handlers that render it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from service import errors
from service.schemas import Problem
from service.segmentation import errors as core

Handler = Callable[[Request, Exception], Awaitable[Response]]

MEDIA_TYPE = "application/problem+json"


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
    errors.TooLargeError: Kind(413, "too-large", "Too large"),
    errors.UnsupportedMediaTypeError: Kind(415, "media-type", "Unsupported media type"),
    errors.NotAcceptableError: Kind(406, "not-acceptable", "No acceptable media type"),
    errors.UploadError: Kind(400, "malformed-upload", "Not a readable upload"),
    errors.NotReadyError: Kind(503, "not-ready", "Not ready"),
}
INVALID_PARAMETER = Kind(422, "invalid-parameter", "Invalid parameter")
INTERNAL = Kind(500, "internal", "Internal error")


def add_handlers(app: FastAPI) -> None:
    """Render every error of the app as a problem."""
    for error, kind in KINDS.items():
        app.add_exception_handler(error, _handler(kind))
    app.add_exception_handler(RequestValidationError, _answer_invalid_parameter)
    app.add_exception_handler(HTTPException, _answer_http_exception)
    app.add_exception_handler(ClientDisconnect, _answer_nobody)
    app.add_exception_handler(Exception, _answer_internal)


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI entries of a route that can answer with these statuses."""
    content = {MEDIA_TYPE: {"schema": Problem.model_json_schema()}}
    return {status: {"description": "; ".join(_titles(status)), "content": content} for status in statuses}


def _titles(status: int) -> list[str]:
    kinds = (*KINDS.values(), INVALID_PARAMETER, INTERNAL)
    return list(dict.fromkeys(kind.title for kind in kinds if kind.status == status))


def _handler(kind: Kind) -> Handler:
    async def answer(_: Request, error: Exception) -> Response:
        return _render(kind, str(error))

    return answer


async def _answer_invalid_parameter(_: Request, error: Exception) -> Response:
    faults = (
        f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in cast(RequestValidationError, error).errors()
    )
    return _render(INVALID_PARAMETER, "; ".join(faults))


async def _answer_http_exception(_: Request, error: Exception) -> Response:
    """What the framework refuses by itself, such as an unknown path or method."""
    refusal = cast(HTTPException, error)
    title = HTTPStatus(refusal.status_code).phrase
    problem = Problem(type="about:blank", title=title, status=refusal.status_code, detail=refusal.detail)
    return JSONResponse(problem.model_dump(), problem.status, refusal.headers, MEDIA_TYPE)


async def _answer_nobody(_: Request, __: Exception) -> Response:
    """A client that hung up while it was sending: no failure of the service, and no one to tell."""
    return Response(status_code=400)


async def _answer_internal(_: Request, __: Exception) -> Response:
    return _render(INTERNAL, "The service failed on this request; its log says why.")


def _render(kind: Kind, detail: str) -> Response:
    problem = Problem(type=f"urn:glioserve:problem:{kind.slug}", title=kind.title, status=kind.status, detail=detail)
    return JSONResponse(problem.model_dump(), kind.status, media_type=MEDIA_TYPE)
