"""Exception handlers that answer every error with an RFC 9457 problem."""

from collections.abc import Mapping
from http import HTTPMethod, HTTPStatus
from typing import Any, cast

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match

from service.problems import INVALID_PARAMETER, PROBLEM_TYPES, TYPE_PREFIX, make_problem, problem_of
from service.schemas import REQUEST_ID_HEADER, Problem
from service.security.access_control import SCHEME
from service.web.middleware.request_log import record_of

MEDIA_TYPE = "application/problem+json"
WRONG_FORMAT = "string_pattern_mismatch"
EXAMPLES = {"series": "t1gd:7,flair:4", "idempotency-key": "study-17"}  # of parameters with a pattern
CLIENT_CLOSED_REQUEST = 499  # nginx's status, which appears only in the log


def add_problem_handlers(app: FastAPI) -> None:
    """Answer every error of the app with a problem."""
    for error in PROBLEM_TYPES:
        app.add_exception_handler(error, _handle_known)
    app.add_exception_handler(RequestValidationError, _handle_invalid_parameter)
    app.add_exception_handler(HTTPException, _handle_http_exception)
    app.add_exception_handler(ClientDisconnect, _handle_disconnect)
    app.add_exception_handler(Exception, _handle_internal)


def render_problem(request: Request, problem: Problem, retry_after_s: int | None = None) -> Response:
    """The response for a problem, which the request's log line names as well."""
    record_of(request).problem = problem.type.removeprefix(TYPE_PREFIX)
    headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
    if problem.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = SCHEME  # RFC 9110, section 11.6.1
    return JSONResponse(problem.model_dump(), problem.status, headers, MEDIA_TYPE)


async def _handle_known(request: Request, error: Exception) -> Response:
    return render_problem(request, problem_of(error), getattr(error, "retry_after_s", None))


async def _handle_invalid_parameter(request: Request, error: Exception) -> Response:
    faults = map(_describe_fault, cast(RequestValidationError, error).errors())
    return render_problem(request, make_problem(INVALID_PARAMETER, "; ".join(faults)))


def _describe_fault(fault: Mapping[str, Any]) -> str:
    """What is wrong with a parameter; an example instead of the regular expression that it does not match."""
    example = EXAMPLES.get(str(fault["loc"][-1])) if fault.get("type") == WRONG_FORMAT else None
    reason = f"expected a value such as {example}" if example else fault["msg"]
    return f"{'.'.join(map(str, fault['loc']))}: {reason}"


async def _handle_http_exception(request: Request, error: Exception) -> Response:
    """Errors of the framework, such as an unknown path or method."""
    raised = cast(HTTPException, error)
    title = HTTPStatus(raised.status_code).phrase
    problem = Problem(type="about:blank", title=title, status=raised.status_code, detail=raised.detail)
    headers = raised.headers
    if raised.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers = {"Allow": ", ".join(_allowed_methods(request))}
        if request.method == HTTPMethod.OPTIONS:
            return Response(status_code=HTTPStatus.NO_CONTENT, headers=headers)
    return JSONResponse(problem.model_dump(), problem.status, headers, MEDIA_TYPE)


def _allowed_methods(request: Request) -> list[str]:
    """All methods of a path; the framework lists only those of the first matching route."""
    return [
        method
        for method in HTTPMethod
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in request.app.routes)
    ]


async def _handle_disconnect(_: Request, __: Exception) -> Response:
    """A client that disconnected: not a failure of the service, and the response reaches no one."""
    return Response(status_code=CLIENT_CLOSED_REQUEST)


async def _handle_internal(request: Request, error: Exception) -> Response:
    """Unforeseen errors. They are handled outside all middleware, so the request id is added here."""
    response = render_problem(request, problem_of(error))
    response.headers[REQUEST_ID_HEADER] = request.state.request_id
    return response
