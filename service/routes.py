"""The HTTP interface for cases."""

from typing import Annotated, Any

from anyio import CancelScope, create_task_group
from fastapi import APIRouter, Depends, Header, Query
from fastapi.exceptions import RequestValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from service.answer import GZIP, ZIP, Answer, encode_answer
from service.archive import ZIP_PART
from service.dependencies import NO_PREFERENCE, LoadedQueue, MediaType, Sender
from service.jobs import Job, new_job
from service.problems import problem_responses, render
from service.schemas import JobStatus, Problem, Report
from service.segmentation.case import ROLE_OF_ENDING, Modality
from service.segmentation.labels import EnhancingLabel
from service.upload import receive_upload

router = APIRouter()

RESPOND_ASYNC = "respond-async"  # RFC 7240, section 4.1


def ways_to_name(modality: Modality) -> list[dict[str, Any]]:
    """Schemas of which a form meets exactly one: one for each name of a modality."""
    return [{"required": [ending]} for ending, named in ROLE_OF_ENDING.items() if named == modality]


BINARY = {"type": "string", "format": "binary"}
PARTS = {part: BINARY | {"description": f"{role}, .nii or .nii.gz"} for part, role in ROLE_OF_ENDING.items()}
FORM: dict[str, Any] = {
    "type": "object",
    "properties": {ZIP_PART: BINARY | {"description": "the zip, and no other part"}} | PARTS,
    "additionalProperties": False,
    "oneOf": [
        {"required": [ZIP_PART], "maxProperties": 1},
        {"properties": {ZIP_PART: False}, "allOf": [{"oneOf": ways_to_name(modality)} for modality in Modality]},
    ],
}
REQUEST_BODY: dict[str, Any] = {
    "required": True,
    "description": "A zip of the four modalities, optionally with ground truth, as NIfTI; or one part a volume.",
    "content": {
        "application/zip": {"schema": BINARY},
        "multipart/form-data": {"schema": FORM},
    },
}
ANSWER_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "model": Report,
        "description": "The mask `segmentation.nii.gz` and `report.json`, or one of them.",
        "content": {ZIP: {"schema": BINARY}, GZIP: {"schema": BINARY}},
    }
}
ACCEPTED_RESPONSES: dict[int | str, dict[str, Any]] = {
    202: {
        "model": JobStatus,
        "description": "Accepted and on disk, where `Prefer: respond-async` came; `Location` says where the job is.",
    }
}


async def get_new_job(
    caller: Sender,
    request: Request,
    enhancing_label: Annotated[
        EnhancingLabel, Query(description="number of the enhancing tumour: 4 (BraTS to 2022) or 3 (from 2023)")
    ] = EnhancingLabel.BRATS_2022,
    prefer: Annotated[
        list[str],
        Header(
            description="respond-async (RFC 7240): answer 202 at once, and the case later", examples=[[RESPOND_ASYNC]]
        ),
    ] = NO_PREFERENCE,
    idempotency_key: Annotated[
        str | None, Header(pattern=r"^[\x21-\x7e]{1,255}$", description="a request repeated with it is the same job")
    ] = None,
) -> Job:
    """The job that a request asks for."""
    _check_once("query", "enhancing_label", request.query_params.getlist("enhancing_label"))
    _check_once("header", "Idempotency-Key", request.headers.getlist("Idempotency-Key"))
    preferences = [preference.partition(";")[0].strip().lower() for preference in ",".join(prefer).split(",")]
    detached = RESPOND_ASYNC in preferences
    return new_job(enhancing_label, detached=detached, owner=caller.key_id, idempotency_key=idempotency_key)


NewJob = Annotated[Job, Depends(get_new_job)]


@router.post(
    "/segment",
    response_class=Response,
    responses=ANSWER_RESPONSES
    | ACCEPTED_RESPONSES
    | problem_responses(400, 401, 403, 406, 408, 409, 413, 415, 422, 429, 503, 507),
    openapi_extra={"requestBody": REQUEST_BODY},
)
async def segment(request: Request, new: NewJob, queue: LoadedQueue, media_type: MediaType) -> Response:
    """Segment one case: fused masks on the grid of the input, region volumes, and scores where ground truth came.

    `Accept` chooses between application/zip (mask and report), application/json (report) and application/gzip (mask).
    """
    async with queue.place(new):
        with new.stopwatch.stage("receive"):
            new.record.digest = await receive_upload(request, queue.spool, new.id, queue.settings)
        job = await queue.submit(new)
    note_job(request, job)
    if new.detached:
        headers = {"Location": f"/jobs/{job.id}", "Preference-Applied": RESPOND_ASYNC}
        return JSONResponse(queue.status(job).model_dump(mode="json"), 202, headers)
    await _wait_for(job, request)
    note_job(request, job)
    return render_outcome(await queue.outcome(job), media_type, request)


def note_job(request: Request, job: Job) -> None:
    """Have the log line of a request say which job it is about, and how that is."""
    request.state.facts.update(job=job.id, state=job.record.state, shape=job.shape, input=job.record.digest or None)


def render_outcome(outcome: Answer | Problem, media_type: str, request: Request) -> Response:
    """What came of a case, as a response."""
    if isinstance(outcome, Problem):
        return render(request, outcome)
    return Response(encode_answer(media_type, outcome), media_type=media_type)


def _check_once(place: str, name: str, values: list[str]) -> None:
    """Refuse a parameter that came twice: which one was meant? Raises RequestValidationError."""
    if len(values) > 1:
        raise RequestValidationError([{"loc": (place, name), "msg": f"expected once, found {len(values)} times"}])


async def _wait_for(job: Job, request: Request) -> None:
    """Wait for the end of a job. A client that hangs up takes a job along that is not kept: ClientDisconnect."""
    try:
        async with create_task_group() as tasks:
            tasks.start_soon(_cancel_when_gone, request, tasks.cancel_scope)
            await job.ended.wait()
            tasks.cancel_scope.cancel()
    finally:
        if not job.kept:
            job.scope.cancel()
    if not job.ended.is_set():
        raise ClientDisconnect


async def _cancel_when_gone(request: Request, scope: CancelScope) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
