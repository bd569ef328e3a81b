"""The HTTP interface for those who watch over the service."""

from typing import Annotated

from fastapi import APIRouter, Depends
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from service.dependencies import LoadedQueue, Reader, get_lifetime
from service.errors import NotReadyError, QueueFullError
from service.lifetime import Lifetime
from service.problems import problem_responses
from service.schemas import Card, Health

router = APIRouter()
metrics_router = APIRouter()


@router.head("/models", include_in_schema=False)
@router.get("/models", responses=problem_responses(401, 403, 429, 503))
async def models(_: Reader, queue: LoadedQueue) -> list[Card]:
    """The cards of the networks that answer."""
    return [Card.model_validate(checkpoint.card) for checkpoint in queue.worker.model.checkpoints]


@router.head("/livez", include_in_schema=False)
@router.get("/livez")
async def livez() -> Health:
    """Whether the process answers at all."""
    return Health(status="alive")


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", responses=problem_responses(503))
async def readyz(queue: LoadedQueue) -> Health:
    """Whether a case would be taken now: weights are loaded and warm, the queue has room, the service is not ending."""
    try:
        queue.check_ready()
    except QueueFullError as error:  # a balancer is to send cases elsewhere; nobody is to blame
        raise NotReadyError(str(error), error.retry_after_s) from error
    return Health(status="ready")


@metrics_router.head("/metrics", include_in_schema=False)
@metrics_router.get("/metrics", response_class=Response, responses=problem_responses(401, 403, 429))
async def metrics(_: Reader, lifetime: Annotated[Lifetime, Depends(get_lifetime)]) -> Response:
    """Counters and gauges in the text format of Prometheus."""
    return Response(lifetime.metrics.render(lifetime.load), media_type=CONTENT_TYPE_LATEST)
