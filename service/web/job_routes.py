"""Routes of jobs, for clients that fetch the result later."""

from collections.abc import AsyncIterator
from typing import Annotated

from anyio import move_on_after
from fastapi import APIRouter, Depends
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.requests import Request
from starlette.responses import Response

from service.jobs.job import Job
from service.jobs.repository import job_not_found
from service.schemas import JobStatus
from service.security.keys import Scope
from service.web.dependencies import LoadedQueue, MediaType, SegmentCaller
from service.web.middleware.request_log import record_of
from service.web.openapi import RESULT_RESPONSES, problem_responses
from service.web.outcome import render_outcome

router = APIRouter(prefix="/jobs/{job_id}")

EVENT_INTERVAL_S = 0.25
INTERRUPTED = "interrupted"
COMMON_ERRORS = 401, 403, 404, 422, 429, 500, 503


async def get_job(job_id: str, caller: SegmentCaller, queue: LoadedQueue, request: Request) -> Job:
    """The job in the path. Raises JobNotFoundError, also for another caller's job, so as not to reveal it."""
    job = await queue.find(job_id)
    if not caller.owns(job.record.owner):
        raise job_not_found()
    record_of(request).add_job(job)
    return job


FoundJob = Annotated[Job, Depends(get_job)]


@router.head("", include_in_schema=False)
@router.get("", responses=problem_responses(*COMMON_ERRORS))
async def status(job: FoundJob, queue: LoadedQueue) -> JobStatus:
    """The state of a job: its queue position, the progress of each network, and the estimated remaining time."""
    return queue.status_of(job)


@router.head("/result", include_in_schema=False)
@router.get(
    "/result",
    response_class=Response,
    responses=RESULT_RESPONSES | problem_responses(*COMMON_ERRORS, 400, 406, 409, 413),
)
async def result(job: FoundJob, queue: LoadedQueue, media_type: MediaType, request: Request) -> Response:
    """The response that `POST /segment` would have given; for a failed job, the problem."""
    return render_outcome(await queue.result_or_problem(job), media_type, request)


@router.get("/events", response_class=EventSourceResponse, responses=problem_responses(*COMMON_ERRORS))
async def events(job: FoundJob, queue: LoadedQueue) -> AsyncIterator[ServerSentEvent]:
    """The status of a job whenever it changes, as server-sent events named by its state, until the job ends.

    If the job is removed, or the service shuts down first, the last event is named `interrupted`.
    """
    reported = None
    while True:
        has_ended, now = job.ended.is_set(), queue.status_of(job)
        if has_ended or (now.queue_position, now.stage, now.slices) != reported:
            event = INTERRUPTED if has_ended and now.finished is None else now.state
            yield ServerSentEvent(event=event, data=now)
        if has_ended:
            return
        reported = now.queue_position, now.stage, now.slices
        with move_on_after(EVENT_INTERVAL_S):
            await job.ended.wait()


@router.head("/events", include_in_schema=False)
async def events_head(_: FoundJob) -> Response:
    """The headers of the events, without waiting for the job to end."""
    return Response(media_type=EventSourceResponse.media_type)


@router.delete("", status_code=204, response_class=Response, responses=problem_responses(*COMMON_ERRORS, 507))
async def remove(job_id: str, caller: SegmentCaller, queue: LoadedQueue, request: Request) -> None:
    """Cancel a waiting or running job, and remove its case and its result."""
    if not caller.may(Scope.ADMIN):  # an administrator may also remove corrupt jobs, whose owner is unknown
        await get_job(job_id, caller, queue, request)
    await queue.remove(job_id)
