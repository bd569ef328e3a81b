"""The service, started and ready: in this process, or in one of its own that can be killed."""

import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from time import monotonic, sleep

import httpx2
from fastapi import FastAPI
from fastapi.testclient import TestClient

from service.app import create_app
from service.server import Server
from service.settings import PREFIX, Settings

GLIOSERVE = Path(sys.executable).with_name("glioserve")
SECONDS_TO_GET_READY = 60
LOOPBACK = "http://127.0.0.1"


@contextmanager
def ready_client(settings: Settings) -> Iterator[TestClient]:
    """A client of a service that is ready."""
    with TestClient(create_app(settings), LOOPBACK, raise_server_exceptions=False) as client:
        wait_until(lambda: client.get("/readyz").status_code == 200)
        yield client


@contextmanager
def listening(app: FastAPI, trust: ssl.SSLContext | None = None) -> Iterator[str]:
    """The address of an app behind a real socket, in a thread: its clients can hang up. With TLS if one trusts it."""
    port = free_port()
    server = Server(app, port=port, log_config=None)
    thread = Thread(target=server.run)
    thread.start()
    address = f"{'https' if trust else 'http'}://127.0.0.1:{port}"
    try:
        wait_until(lambda: answers_ready(address, trust))
        yield address
    finally:
        server.should_exit = True
        thread.join(timeout=60)


@dataclass(frozen=True)
class Served:
    """`glioserve serve` in a process of its own."""

    address: str
    process: subprocess.Popen
    log: Path


@contextmanager
def served(folder: Path, **settings: object) -> Iterator[Served]:
    """A process that is ready; its log, and its spool if none is given, are in a folder. It is killed in the end."""
    folder.mkdir(exist_ok=True)
    given = {"port": free_port(), "spool": folder / "spool"} | settings
    environment = os.environ | {f"{PREFIX}{name.upper()}": str(value) for name, value in given.items()}
    log = folder / "log"
    with (
        log.open("a") as out,
        subprocess.Popen([GLIOSERVE, "serve"], env=environment, stdout=out, stderr=out) as process,
    ):
        address = f"http://127.0.0.1:{given['port']}"
        try:
            wait_until(lambda: is_ready(address, process))
            yield Served(address, process, log)
        finally:
            process.kill()


def is_ready(address: str, process: subprocess.Popen) -> bool:
    """Whether a server takes cases; fails once its process has ended."""
    assert process.poll() is None, "the server ended before it was ready"
    return answers_ready(address)


def answers_ready(address: str, trust: ssl.SSLContext | None = None) -> bool:
    """Whether whatever listens there takes cases."""
    try:
        return httpx2.get(f"{address}/readyz", verify=trust or True).status_code == 200
    except httpx2.TransportError:
        return False


def free_port() -> int:
    """A port of the loopback address that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(holds, seconds=SECONDS_TO_GET_READY) -> None:
    """Wait until something holds, and fail where it takes too long."""
    deadline = monotonic() + seconds
    while not holds():
        assert monotonic() < deadline, "it never came to hold"
        sleep(0.02)
