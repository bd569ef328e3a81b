"""A running service: in this process, behind a socket in a thread, or in a process of its own that can be killed."""

import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from time import monotonic, sleep

import httpx2
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.applications import Starlette

from service.app import create_app
from service.settings import Settings
from service.web.server import Server
from support.command_line import GLIOSERVE, environment_with

LOOPBACK = "http://127.0.0.1"
TIMEOUT_S = 60


@contextmanager
def ready_client(settings: Settings) -> Iterator[TestClient]:
    """A test client of a service that is ready."""
    with TestClient(create_app(settings), LOOPBACK, raise_server_exceptions=False) as client:
        wait_until(lambda: client.get("/readyz").status_code == 200)
        yield client


@contextmanager
def serve_in_thread(app: FastAPI, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Serve an app on a real socket, so that clients can disconnect, and yield its address. HTTPS if `tls` is given."""
    port = free_port()
    server = Server(app, port=port, log_config=None)
    thread = Thread(target=server.run)
    thread.start()
    address = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    try:
        wait_until(lambda: is_ready(address, tls))
        yield address
    finally:
        server.should_exit = True
        thread.join(timeout=TIMEOUT_S)


@contextmanager
def serve_plainly(app: Starlette) -> Iterator[str]:
    """Serve an app that is not the service on a socket, and yield its address."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None))
    thread = Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started)
        yield f"{LOOPBACK}:{port}"
    finally:
        server.should_exit = True
        thread.join(timeout=TIMEOUT_S)


@dataclass(frozen=True)
class ServiceProcess:
    """`glioserve serve` in a process of its own."""

    address: str
    process: subprocess.Popen
    log: Path


@contextmanager
def serve_in_process(folder: Path, **settings: object) -> Iterator[ServiceProcess]:
    """Run `glioserve serve` until it is ready, and kill it afterwards.

    The log is written to the folder, and so is the spool unless the settings name another one.
    """
    folder.mkdir(exist_ok=True)
    settings = {"port": free_port(), "spool": folder / "spool"} | settings
    address, log = f"{LOOPBACK}:{settings['port']}", folder / "log"
    with (
        log.open("a") as out,
        subprocess.Popen([GLIOSERVE, "serve"], env=environment_with(**settings), stdout=out, stderr=out) as process,
    ):

        def has_started() -> bool:
            assert process.poll() is None, "the service stopped before it was ready"
            return is_ready(address)

        try:
            wait_until(has_started)
            yield ServiceProcess(address, process, log)
        finally:
            process.kill()


def is_ready(address: str, tls: ssl.SSLContext | None = None) -> bool:
    """Whether the service at an address accepts cases."""
    try:
        return httpx2.get(f"{address}/readyz", verify=tls or True).status_code == 200
    except httpx2.TransportError:
        return False


def free_port() -> int:
    """A free port of the loopback address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def port_of(address: str) -> int:
    """The port of an address."""
    return int(address.rpartition(":")[2])


def connect(address: str) -> socket.socket:
    """Open a TCP connection to a service on the loopback address."""
    return socket.create_connection(("127.0.0.1", port_of(address)), timeout=TIMEOUT_S)


def wait_until(condition: Callable[[], object], timeout_s: float = TIMEOUT_S) -> None:
    """Wait until a condition is true. Raises AssertionError after the timeout."""
    deadline = monotonic() + timeout_s
    while not condition():
        assert monotonic() < deadline, f"the condition was still false after {timeout_s} s"
        sleep(0.02)
