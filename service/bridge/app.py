"""Assembles the bridge: the DICOM node, the searches, the courier, and the HTTP server for monitoring."""

import signal
import socket
from collections.abc import Callable, Sequence
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
from service.monitoring.log import log_line

TICK_S = 1.0  # between two rounds of the courier
CLEANING_INTERVAL_S = 3600.0
STOP_S = 5.0  # for the current step to end; one that is interrupted is repeated after the next start
Task = tuple[Callable[[], None], float]  # what is repeated, and the pause in seconds


def run_bridge(settings: BridgeSettings, monitoring: socket.socket) -> None:
    """Run until told to stop; serve health and metrics on a socket. Raises SettingsError."""
    store, metrics = StudyStore(settings.folder, settings.max_folder_mib), BridgeMetrics()
    tasks = _make_tasks(settings, store, metrics)
    node = Receiver(settings, store, metrics).start()
    stopping = Event()
    threads = [Thread(target=_repeat, args=(*task, stopping, metrics), daemon=True) for task in tasks]
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_number, lambda *_: None)  # uvicorn ends by itself, and then raises the signal again
    try:
        for thread in threads:
            thread.start()
        log_line("started", ae_title=settings.ae_title, port=settings.port)
        app = create_app(store, metrics, threads)
        uvicorn.Server(uvicorn.Config(app, access_log=False, server_header=False)).run([monitoring])
    finally:
        node.shutdown()
        stopping.set()
        for thread in threads:
            thread.join(STOP_S)
        store.close()
        log_line("stopped")


def create_app(store: StudyStore, metrics: BridgeMetrics, threads: Sequence[Thread]) -> Starlette:
    """The HTTP application for monitoring."""

    def livez(_: Request) -> Response:
        is_alive = all(thread.is_alive() for thread in threads)
        return JSONResponse({"status": "alive" if is_alive else "stopped"}, 200 if is_alive else 503)

    def render_metrics(_: Request) -> Response:
        return Response(metrics.render(store), media_type=CONTENT_TYPE_LATEST)

    return Starlette(routes=[Route("/livez", livez), Route("/metrics", render_metrics)])


def _make_tasks(settings: BridgeSettings, store: StudyStore, metrics: BridgeMetrics) -> list[Task]:
    """What the bridge repeats. Raises SettingsError."""
    tasks: list[Task] = [
        (Courier(settings, store, metrics).advance_all, TICK_S),
        (store.remove_expired, CLEANING_INTERVAL_S),
    ]
    if settings.poll:
        tasks.append((Poller(settings, store, metrics).poll, settings.poll_interval_s))
    return tasks


def _repeat(task: Callable[[], None], interval_s: float, stopping: Event, metrics: BridgeMetrics) -> None:
    while not stopping.wait(interval_s):
        try:
            task()
        except Exception as error:  # such as a full disk, or a response that nobody foresaw; the next round may succeed
            metrics.errors.inc()
            log_line("error", type=type(error).__name__)
