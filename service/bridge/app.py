"""Assembles the bridge: the DICOM node, the searches, the courier, and the HTTP server for monitoring."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from threading import Event, Thread

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from service.bridge.courier import Courier
from service.bridge.metrics import BridgeMetrics
from service.bridge.poller import Poller
from service.bridge.receiver import Receiver
from service.bridge.settings import BridgeSettings
from service.bridge.store import StudyStore
from service.errors import SettingsError
from service.monitoring.log import log_line

TICK_S = 1.0  # between two rounds of the courier
STOP_S = 5.0  # for the current step to end; one that is interrupted is repeated after the next start
Task = tuple[Callable[[], None], float]  # what is repeated, and the pause in seconds


def run_bridge(settings: BridgeSettings) -> None:
    """Run until told to stop. Raises SettingsError."""
    store, metrics = StudyStore(settings.folder, settings.max_folder_mib), BridgeMetrics()
    app = create_app(settings, store, metrics)
    uvicorn.run(
        app, host=settings.monitoring_host, port=settings.monitoring_port, access_log=False, server_header=False
    )


def create_app(settings: BridgeSettings, store: StudyStore, metrics: BridgeMetrics) -> Starlette:
    """The HTTP application; the bridge works while it runs. Raises SettingsError."""
    try:
        tasks: list[Task] = [(Courier(settings, store, metrics).advance_all, TICK_S)]
        if settings.poll:
            tasks.append((Poller(settings, store, metrics).poll, settings.poll_interval_s))
    except OSError as error:
        raise SettingsError(f"Bridge: expected readable files in the settings, found {error}.") from error
    receiver = Receiver(settings, store, metrics)
    threads: list[Thread] = []

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        stopping, node = Event(), receiver.start()
        threads.extend(Thread(target=_repeat, args=(*task, stopping), daemon=True) for task in tasks)
        for thread in threads:
            thread.start()
        log_line("started", ae_title=settings.ae_title, port=settings.port)
        yield
        node.shutdown()
        stopping.set()
        for thread in threads:
            thread.join(STOP_S)

    async def livez(_: Request) -> Response:
        is_alive = all(thread.is_alive() for thread in threads)
        return JSONResponse({"status": "alive" if is_alive else "stopped"}, 200 if is_alive else 503)

    def render_metrics(_: Request) -> Response:
        return Response(metrics.render(store), media_type=CONTENT_TYPE_LATEST)

    return Starlette(routes=[Route("/livez", livez), Route("/metrics", render_metrics)], lifespan=lifespan)


def _repeat(task: Callable[[], None], interval_s: float, stopping: Event) -> None:
    while not stopping.wait(interval_s):
        task()
