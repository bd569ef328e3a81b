"""The service in a process of its own, on a free port of the loopback address, as a client meets it."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from time import sleep
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen
from zipfile import ZipFile

from service.answer import REPORT_NAME, ZIP
from service.errors import BenchError
from service.settings import PREFIX

LOOPBACK = "127.0.0.1"
SECONDS_BETWEEN_TRIES = 0.1
SECONDS_TO_END = 60
LEFT_OUT = "audit", "keys", "tls_certificate", "tls_key", "tls_client_ca"  # settings that are not for a measurement


@dataclass(frozen=True)
class Server:
    """A running service that has its weights loaded and is warm."""

    address: str
    pid: int

    def segment(self, case: bytes) -> dict[str, Any]:
        """Send a zipped case, take the mask and the report, and give the report. Raises BenchError where it fails."""
        request = Request(f"{self.address}/segment", data=case, headers={"Content-Type": ZIP, "Accept": ZIP})
        try:
            with urlopen(request) as response:
                answer = response.read()
        except HTTPError as error:
            raise BenchError(json.load(error)["detail"]) from error
        except OSError as error:
            raise BenchError(f"Server: expected an answer, found none: {error}") from error
        report: dict[str, Any] = json.loads(ZipFile(BytesIO(answer)).read(REPORT_NAME))
        return report

    def resident_mib(self) -> float:
        """Resident memory of its processes now; what two of them share counts twice."""
        return self._status_mib("VmRSS")

    def peak_resident_mib(self) -> float:
        """The sum of the most resident memory that each of its processes has had, at whatever moments."""
        return self._status_mib("VmHWM")

    def cpu_s(self) -> float:
        """Seconds that the threads of its processes have kept CPUs busy."""
        times = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13] for pid in self._pids]
        return sum(int(user) + int(system) for user, system in times) / os.sysconf("SC_CLK_TCK")

    def restart_peak(self) -> None:
        """Count the peak from now on."""
        for pid in self._pids:
            Path(f"/proc/{pid}/clear_refs").write_text("5")

    @property
    def _pids(self) -> list[int]:
        """The service, and the process that reads uploads for it."""
        children = Path(f"/proc/{self.pid}/task").glob("*/children")
        return [self.pid, *(int(pid) for tasks in children for pid in tasks.read_text().split())]

    def _status_mib(self, name: str) -> float:
        lines = [line for pid in self._pids for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
        return sum(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024  # the kernel writes kB


@contextmanager
def running_server(**changes: str) -> Iterator[Server]:
    """A server with the settings of the environment and these variables, on a free port and with a spool of its own.

    Raises BenchError where it does not start.
    """
    port = _free_port()
    command = [sys.executable, "-m", "service.cli", "serve"]
    with TemporaryFile("w+") as log, TemporaryDirectory() as spool:
        settings = {"GLIOSERVE_HOST": LOOPBACK, "GLIOSERVE_PORT": str(port), "GLIOSERVE_SPOOL": spool}
        settings |= {f"{PREFIX}{name.upper()}": "" for name in LEFT_OUT}
        process = subprocess.Popen(command, env=os.environ | settings | changes, stdout=log, stderr=log)
        try:
            server = Server(f"http://{LOOPBACK}:{port}", process.pid)
            while not _is_ready(server.address):
                if process.poll() is not None:
                    log.seek(0)
                    raise BenchError(f"Server: expected it to start, found this in its log:\n{log.read()}")
                sleep(SECONDS_BETWEEN_TRIES)
            yield server
        finally:
            process.terminate()
            process.wait(SECONDS_TO_END)


def _is_ready(address: str) -> bool:
    try:
        with urlopen(f"{address}/readyz"):
            return True
    except URLError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
    return port
