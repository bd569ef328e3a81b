"""The response with the outcome of a job: its result, or the problem that it failed with."""

from starlette.requests import Request
from starlette.responses import Response

from service.jobs.result import JobResult
from service.schemas import Problem
from service.web.negotiation import encode_result
from service.web.problem_handlers import render_problem


def render_outcome(outcome: JobResult | Problem, media_type: str, request: Request) -> Response:
    """The outcome of a job as a response."""
    if isinstance(outcome, Problem):
        return render_problem(request, outcome)
    return Response(encode_result(media_type, outcome), media_type=media_type)
