"""The HTTP interface for jobs: cases whose client comes back for the result."""

from collections.abc import AsyncIterator
from typing import Annotated

from anyio import move_on_after
from fastapi import APIRouter, Depends
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.requests import Request
from starlette.responses import Response

from service.dependencies import LoadedQueue, MediaType, Sender
from service.disk import not_found
from service.jobs import Job
from service.keys import Scope
from service.problems import problem_responses
from service.routes import ANSWER_RESPONSES, note_job, render_outcome
from service.schemas import JobStatus

router = APIRouter(prefix="/jobs/{job_id}")

SECONDS_BETWEEN_EVENTS = 0.25
INTERRUPTED = "interrupted"
OF_EVERY_JOB = 401, 403, 404, 422, 429, 500, 503


async def get_job(job_id: str, caller: Sender, queue: LoadedQueue, request: Request) -> Job:
    """The job in the address; raises JobNotFoundError, also where it is another's: nobody is to know that it is."""
    job = await queue.find(job_id)
    if not caller.owns(job.record.owner):
        raise not_found()
    note_job(request, job)
    return job


FoundJob = Annotated[Job, Depends(get_job)]


@router.head("", include_in_schema=False)
@router.get("", responses=problem_responses(*OF_EVERY_JOB))
async def status(job: FoundJob, queue: LoadedQueue) -> JobStatus:
    """Where a job is: its place in the queue, how far each network is, and how long it will probably take."""
    return queue.status(job)


@router.head("/result", include_in_schema=False)
@router.get(
    "/result",
    response_class=Response,
    responses=ANSWER_RESPONSES | problem_responses(*OF_EVERY_JOB, 400, 406, 409, 413),
)
async def result(job: FoundJob, queue: LoadedQueue, media_type: MediaType, request: Request) -> Response:
    """What `POST /segment` would have answered; of a job that failed, the problem."""
    return render_outcome(await queue.outcome(job), media_type, request)


@router.get("/events", response_class=EventSourceResponse, responses=problem_responses(*OF_EVERY_JOB))
async def events(job: FoundJob, queue: LoadedQueue) -> AsyncIterator[ServerSentEvent]:
    """The status of a job each time that it changes, as server-sent events named by its state, until it has ended.

    Where it was removed, or the service ends before it, the last one is named `interrupted`.
    """
    told = None
    while True:
        over, now = job.ended.is_set(), queue.status(job)
        if over or (now.place, now.slices) != told:
            event = INTERRUPTED if over and now.finished is None else now.state
            yield ServerSentEvent(event=event, data=now)
        if over:
            return
        told = now.place, now.slices
        with move_on_after(SECONDS_BETWEEN_EVENTS):
            await job.ended.wait()


@router.head("/events", include_in_schema=False)
async def events_head(_: FoundJob) -> Response:
    """What HEAD tells of the events: that there are some, at once, not when the job has ended."""
    return Response(media_type=EventSourceResponse.media_type)


@router.delete("", status_code=204, response_class=Response, responses=problem_responses(*OF_EVERY_JOB, 507))
async def remove(job_id: str, caller: Sender, queue: LoadedQueue, request: Request) -> None:
    """Cancel a job that waits or runs, and remove its case and its result."""
    if not caller.may(Scope.ADMIN):  # who may remove whatever there is, even what is broken and says no owner
        await get_job(job_id, caller, queue, request)
    await queue.remove(job_id)
