"""POST /segment: receives a case; responds with its result or, on request, with the status of its job."""

from typing import Annotated

from anyio import CancelScope, create_task_group
from fastapi import APIRouter, Depends, Header, Query
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from service.imaging.case import Modality
from service.imaging.labels import EnhancingLabel
from service.jobs.job import Job, new_job
from service.preparation.raw import Prepare
from service.segmentation.options import LabelGrid, Options, Output
from service.web.dependencies import NO_HEADER, LoadedQueue, MediaType, SegmentCaller
from service.web.middleware.request_log import record_of
from service.web.openapi import ACCEPTED_RESPONSES, REQUEST_BODY, RESULT_RESPONSES, problem_responses
from service.web.outcome import render_outcome
from service.web.upload import receive_upload

router = APIRouter()

SERIES = rf"({'|'.join(modality.lower() for modality in Modality)}):[0-9]{{1,9}}"
RESPOND_ASYNC = "respond-async"  # RFC 7240, section 4.1


class SegmentParameters(BaseModel):
    """The query parameters of POST /segment."""

    model_config = ConfigDict(extra="forbid")

    enhancing_label: EnhancingLabel = Field(
        EnhancingLabel.BRATS_2022,
        description="label number of the enhancing tumour: 4 (BraTS until 2022) or 3 (from 2023)",
    )
    probabilities: bool = Field(False, description="whether the zip also contains a probability map of each region")
    trust_names: bool = Field(
        False, description="whether to segment a case even if its images seem to have wrong names"
    )
    allow_missing: bool = Field(
        False, description="whether to segment a case without all four modalities, less accurately"
    )
    prepare: Prepare = Field(
        Prepare.AUTO,
        description="which cases to prepare (to register the series and to outline the brain): auto for those that "
        "are not prepared yet, always, or never",
    )
    grid: LabelGrid | None = Field(
        None, description="the grid of the label map: that of an image, by default T1Gd, or the 1 mm working grid"
    )
    prepared: bool = Field(
        False,
        description="whether the zip also contains the prepared images, the ground truth, the brain mask and the "
        "transforms",
    )
    series: str | None = Field(
        None,
        pattern=rf"^{SERIES}(,{SERIES})*$",
        description="which series of a DICOM study to use, by SeriesNumber, such as t1gd:7,flair:4; the service "
        "chooses the series of the other modalities",
    )
    output: Output = Field(
        Output.NIFTI,
        description="dicom: the zip also contains the result as DICOM objects (SEG, SR, secondary captures)",
    )


async def get_options(request: Request, parameters: Annotated[SegmentParameters, Query()]) -> Options:
    """What the query parameters ask for."""
    for name in SegmentParameters.model_fields:
        _check_single("query", name, request.query_params.getlist(name))
    return Options(
        parameters.enhancing_label,
        parameters.probabilities,
        parameters.trust_names,
        parameters.allow_missing,
        parameters.prepare,
        parameters.grid,
        parameters.prepared,
        _series_numbers(parameters.series or ""),
        parameters.output,
    )


async def get_new_job(
    caller: SegmentCaller,
    request: Request,
    options: Annotated[Options, Depends(get_options)],
    prefer: Annotated[
        list[str],
        Header(
            description="respond-async (RFC 7240): answer 202 at once, and provide the result later",
            examples=[[RESPOND_ASYNC]],
        ),
    ] = NO_HEADER,
    idempotency_key: Annotated[
        str | None,
        Header(pattern=r"^[\x21-\x7e]{1,255}$", description="requests with the same key refer to the same job"),
    ] = None,
) -> Job:
    """The job that a request asks for."""
    _check_single("header", "Idempotency-Key", request.headers.getlist("Idempotency-Key"))
    preferences = [preference.partition(";")[0].strip().lower() for preference in ",".join(prefer).split(",")]
    is_async = RESPOND_ASYNC in preferences
    return new_job(options, is_async=is_async, owner=caller.key_id, idempotency_key=idempotency_key)


NewJob = Annotated[Job, Depends(get_new_job)]


@router.post(
    "/segment",
    response_class=Response,
    responses=RESULT_RESPONSES
    | ACCEPTED_RESPONSES
    | problem_responses(400, 401, 403, 406, 408, 409, 413, 415, 422, 429, 503, 507),
    openapi_extra={"requestBody": REQUEST_BODY},
)
async def segment(request: Request, new: NewJob, queue: LoadedQueue, media_type: MediaType) -> Response:
    """Segment one case: a label map on the grid of the input, region volumes and, with ground truth, scores.

    `Accept` chooses between application/zip (label map and report), application/json (report) and application/gzip
    (label map).
    """
    async with queue.admit(new):
        with new.progress.stage("receive"):
            new.record.digest = await receive_upload(request, queue.spool, new.id, queue.settings)
        job = await queue.submit(new)
    record_of(request).add_job(job)
    if new.is_async:
        headers = {"Location": f"/jobs/{job.id}", "Preference-Applied": RESPOND_ASYNC}
        return JSONResponse(queue.status_of(job).model_dump(mode="json"), 202, headers)
    await _wait_for(job, request)
    record_of(request).add_job(job)
    return render_outcome(await queue.result_or_problem(job), media_type, request)


def _series_numbers(text: str) -> dict[Modality, int]:
    """SeriesNumbers by modality, from a text such as `t1gd:7,flair:4`. Raises RequestValidationError."""
    pairs = [entry.split(":") for entry in text.split(",") if entry]
    numbers = {Modality[name.upper()]: int(number) for name, number in pairs}
    if len(numbers) < len(pairs):
        raise RequestValidationError([{"loc": ("query", "series"), "msg": "expected every modality at most once"}])
    return numbers


def _check_single(location: str, name: str, values: list[str]) -> None:
    """Reject an ambiguous parameter that was sent more than once. Raises RequestValidationError."""
    if len(values) > 1:
        raise RequestValidationError([{"loc": (location, name), "msg": f"expected once, found {len(values)} times"}])


async def _wait_for(job: Job, request: Request) -> None:
    """Wait until a job ends. Raises ClientDisconnect if the client leaves first; cancels a non-persistent job."""
    try:
        async with create_task_group() as tasks:
            tasks.start_soon(_cancel_on_disconnect, request, tasks.cancel_scope)
            await job.ended.wait()
            tasks.cancel_scope.cancel()
    finally:
        if not job.is_persistent:
            job.cancel_scope.cancel()
    if not job.ended.is_set():
        raise ClientDisconnect


async def _cancel_on_disconnect(request: Request, scope: CancelScope) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
