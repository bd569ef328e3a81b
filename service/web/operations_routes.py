"""Routes for operating the service: health checks, metrics, model cards."""

from typing import Annotated

from fastapi import APIRouter, Depends
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from service.errors import NotReadyError, QueueFullError
from service.runtime import Runtime
from service.schemas import Health, ModelCard
from service.web.dependencies import LoadedQueue, ReadCaller, get_runtime
from service.web.openapi import problem_responses

router = APIRouter()
metrics_router = APIRouter()


@router.head("/models", include_in_schema=False)
@router.get("/models", responses=problem_responses(401, 403, 429, 503))
async def models(_: ReadCaller, queue: LoadedQueue) -> list[ModelCard]:
    """The model cards of the networks in use."""
    return [ModelCard.model_validate(checkpoint.card) for checkpoint in queue.model.checkpoints]


@router.head("/livez", include_in_schema=False)
@router.get("/livez")
async def livez() -> Health:
    """Whether the process responds at all."""
    return Health(status="alive")


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", responses=problem_responses(503))
async def readyz(queue: LoadedQueue) -> Health:
    """Whether a case would be accepted now: the model is loaded, the queue has room, no shutdown is in progress."""
    try:
        queue.check_ready()
    except QueueFullError as error:  # 503 tells a load balancer to send cases elsewhere; 429 would blame the client
        raise NotReadyError(str(error), error.retry_after_s) from error
    return Health(status="ready")


@metrics_router.head("/metrics", include_in_schema=False)
@metrics_router.get("/metrics", response_class=Response, responses=problem_responses(401, 403, 429))
async def metrics(_: ReadCaller, runtime: Annotated[Runtime, Depends(get_runtime)]) -> Response:
    """Counters and gauges in Prometheus text format."""
    return Response(runtime.metrics.render(runtime.queue_status), media_type=CONTENT_TYPE_LATEST)
