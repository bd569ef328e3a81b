"""The assembly of the web service, nothing else."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from anyio import create_task_group
from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from service import body_limit, docs, job_routes, linger, observe, problems, routes, watch_routes
from service.lifetime import Lifetime
from service.settings import Settings

CORS: dict[str, Any] = {
    "allow_methods": ["GET", "POST", "DELETE"],
    "allow_headers": ["Authorization", "Content-Type", "Idempotency-Key", "Prefer", "X-Request-ID"],
    "expose_headers": ["Location", "Preference-Applied", "Retry-After", "X-Request-ID"],
}


def create_app(settings: Settings) -> FastAPI:
    """The service; it loads and works beside its server, which answers from the start whether it is ready."""
    lifetime = Lifetime(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with create_task_group() as tasks:
            tasks.start_soon(lifetime.run)
            yield
            lifetime.end(settings.grace_s)

    app = FastAPI(
        title="GlioServe",
        version="1",
        summary="Brain tumour segmentation of multimodal MRI",
        lifespan=lifespan,
        openapi_url="/openapi.json" if settings.docs else None,
        docs_url=None,  # its page would load scripts from another host
        redoc_url=None,
        redirect_slashes=False,  # a path is known or it is not; a case is not to be sent twice
    )
    app.state.lifetime = lifetime
    app.include_router(routes.router)
    app.include_router(job_routes.router)
    app.include_router(watch_routes.router)
    if settings.metrics:
        app.include_router(watch_routes.metrics_router)
    if settings.docs:
        app.include_router(docs.router)
    if settings.origins:
        app.add_middleware(CORSMiddleware, allow_origins=settings.origins, **CORS)
    app.add_middleware(body_limit.BodyLimit, max_mib=settings.max_upload_mib)
    app.add_middleware(observe.Observe, metrics=lifetime.metrics, audit=lifetime.audit)
    app.add_middleware(linger.Linger)
    problems.add_handlers(app)
    if not settings.keys:
        app.openapi_schema = docs.without_keys(app.openapi())
    return app
