"""The assembly of the web service, nothing else."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO

import torch
from anyio import to_thread
from fastapi import FastAPI

from service import answer, body_limit, phantom, problems, routes
from service.device import choose_device, choose_precision, limit_memory, return_large_arrays, usable_cpus
from service.segmentation.labels import EnhancingLabel
from service.segmentation.predict import fit_memory
from service.segmentation.weights import load_model
from service.settings import Settings
from service.upload import ZIP_PART
from service.worker import Worker

log = logging.getLogger("uvicorn.error")


def create_app(settings: Settings) -> FastAPI:
    """The service; weights load, and a warm-up runs, when the server starts it."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.worker = await to_thread.run_sync(_start_worker, settings)
        log.info("Ready. To try it, in another terminal: %s", try_line(settings))
        yield
        app.state.worker = None

    app = FastAPI(
        title="GlioServe",
        version="1",
        summary="Brain tumour segmentation of multimodal MRI",
        lifespan=lifespan,
        docs_url=None,  # its page would load scripts from another host
        redoc_url=None,
    )
    app.state.worker = None
    app.include_router(routes.router)
    app.add_middleware(body_limit.BodyLimit, max_mib=settings.max_upload_mib)
    problems.add_handlers(app)
    return app


def try_line(settings: Settings) -> str:
    """A command that sends a case."""
    return f"curl -sS --fail-with-body -F file=@case.zip -o result.zip http://{settings.host}:{settings.port}/segment"


def _start_worker(settings: Settings) -> Worker:
    """Load the weights and segment the phantom once: the first request must not pay for what only first calls do."""
    return_large_arrays()
    torch.set_num_threads(settings.threads or usable_cpus())
    device = choose_device(settings.device)
    limit_memory(device, settings.device_memory_mib)
    model = load_model(settings.weights, device).optimised(choose_precision(settings.precision))
    if device.type == "cuda":
        model = fit_memory(model)
    worker = Worker(model, settings.max_unpacked_mib)
    case = phantom.zip_files(phantom.encode_phantom(phantom.make_phantom(phantom.SLAB_GRID)))
    worker.segment_now({ZIP_PART: BytesIO(case)}, EnhancingLabel.BRATS_2022, answer.ZIP)
    return worker
