"""The HTTP interface."""

from contextlib import AsyncExitStack
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query
from starlette.requests import Request
from starlette.responses import Response

from service.answer import GZIP, ZIP, choose_media_type
from service.errors import NotReadyError
from service.problems import problem_responses
from service.report import Stopwatch
from service.schemas import Card, Health, Report
from service.segmentation.case import ROLE_OF_ENDING
from service.segmentation.labels import EnhancingLabel
from service.upload import ZIP_PART, receive_upload
from service.worker import Worker

router = APIRouter()

BINARY = {"type": "string", "format": "binary"}
PARTS = {part: BINARY | {"description": f"{role}, .nii or .nii.gz"} for part, role in ROLE_OF_ENDING.items()}
REQUEST_BODY: dict[str, Any] = {
    "required": True,
    "description": "A zip of the four modalities, optionally with ground truth, as NIfTI; or one part a volume.",
    "content": {
        "application/zip": {"schema": BINARY},
        "multipart/form-data": {
            "schema": {"type": "object", "properties": {ZIP_PART: BINARY | {"description": "the zip"}} | PARTS}
        },
    },
}
SEGMENT_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "model": Report,
        "description": "The mask `segmentation.nii.gz` and `report.json`, or one of them.",
        "content": {ZIP: {"schema": BINARY}, GZIP: {"schema": BINARY}},
    }
}


def get_worker(request: Request) -> Worker:
    """The app's worker; raises NotReadyError before the weights are loaded and warm."""
    worker: Worker | None = request.app.state.worker
    if worker is None:
        raise NotReadyError("Weights: expected loaded and warm, found still loading.")
    return worker


ReadyWorker = Annotated[Worker, Depends(get_worker)]


@router.post(
    "/segment",
    response_class=Response,
    responses=SEGMENT_RESPONSES | problem_responses(400, 406, 413, 415, 422, 503),
    openapi_extra={"requestBody": REQUEST_BODY},
)
async def segment(
    request: Request,
    worker: ReadyWorker,
    enhancing_label: Annotated[
        EnhancingLabel, Query(description="number of the enhancing tumour: 4 (BraTS to 2022) or 3 (from 2023)")
    ] = EnhancingLabel.BRATS_2022,
    accept: Annotated[str, Header(include_in_schema=False)] = "*/*",
) -> Response:
    """Segment one case: fused masks on the grid of the input, region volumes, and scores where ground truth came.

    `Accept` chooses between application/zip (mask and report), application/json (report) and application/gzip (mask).
    """
    media_type = choose_media_type(accept)
    stopwatch = Stopwatch()
    async with AsyncExitStack() as stack:
        with stopwatch.stage("receive"):
            upload = await stack.enter_async_context(receive_upload(request))
        return Response(await worker.segment(upload, enhancing_label, media_type, stopwatch), media_type=media_type)


@router.get("/models")
async def models(worker: ReadyWorker) -> list[Card]:
    """The cards of the networks that answer."""
    return [Card.model_validate(checkpoint.card) for checkpoint in worker.model.checkpoints]


@router.get("/livez")
async def livez() -> Health:
    """Whether the process answers at all."""
    return Health(status="alive")


@router.get("/readyz", responses=problem_responses(503))
async def readyz(_: ReadyWorker) -> Health:
    """Whether weights are loaded and warm."""
    return Health(status="ready")
