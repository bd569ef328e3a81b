"""Assembles the FastAPI application: middleware, routes, error handlers and lifespan."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import create_task_group
from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from service.runtime import Runtime
from service.settings import Settings
from service.web import case_routes, docs_page, job_routes, operations_routes, page_routes
from service.web.middleware.body_limit import BodyLimit
from service.web.middleware.lingering_close import LingeringClose
from service.web.middleware.request_log import RequestLog
from service.web.middleware.request_target import RequestTarget
from service.web.openapi import without_authentication
from service.web.problem_handlers import add_problem_handlers


def create_app(settings: Settings) -> FastAPI:
    """The service. It loads the model in the background, and answers requests meanwhile."""
    runtime = Runtime(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with create_task_group() as tasks:
            tasks.start_soon(runtime.run)
            yield
            runtime.shut_down(settings.shutdown_grace_s)

    app = FastAPI(
        title="GlioServe",
        version="1",
        summary="Brain tumour segmentation of multimodal MRI",
        lifespan=lifespan,
        middleware=_middleware(runtime),
        openapi_url="/openapi.json" if settings.docs else None,
        docs_url=None,  # FastAPI's page would load scripts from another host
        redoc_url=None,
        redirect_slashes=False,  # a redirect would make clients send their case twice
    )
    app.state.runtime = runtime
    _add_routes(app, settings)
    add_problem_handlers(app)
    if not settings.keys_file:
        app.openapi_schema = without_authentication(app.openapi())
    return app


def _middleware(runtime: Runtime) -> list[Middleware]:
    """All middleware, outermost first."""
    settings = runtime.settings
    middleware = [
        Middleware(RequestTarget),
        Middleware(LingeringClose),
        Middleware(RequestLog, metrics=runtime.metrics, audit_log=runtime.audit_log),
        Middleware(BodyLimit, max_mib=settings.max_upload_mib),
    ]
    if settings.origins:
        middleware.append(
            Middleware(
                CORSMiddleware,
                allow_origins=settings.origins,
                allow_methods=["GET", "POST", "DELETE"],
                allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "Prefer", "X-Request-ID"],
                expose_headers=["Location", "Preference-Applied", "Retry-After", "X-Request-ID"],
            )
        )
    return middleware


def _add_routes(app: FastAPI, settings: Settings) -> None:
    app.include_router(case_routes.router)
    app.include_router(job_routes.router)
    app.include_router(operations_routes.router)
    if settings.metrics:
        app.include_router(operations_routes.metrics_router)
    if settings.docs:
        app.include_router(docs_page.router)
    if settings.page:
        app.include_router(page_routes.router)
