"""The service in a process of its own, on a free port of the loopback address, for measurements over HTTP."""

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

from service.errors import BenchError
from service.jobs.result import REPORT_NAME
from service.settings import PREFIX
from service.web.negotiation import ZIP

LOOPBACK = "127.0.0.1"
POLL_INTERVAL_S = 0.1
STOP_TIMEOUT_S = 60
EXCLUDED = "audit_log", "keys_file", "tls_certificate", "tls_key", "tls_client_ca"  # settings that a benchmark ignores


@dataclass(frozen=True)
class ServiceProcess:
    """A running service whose model is loaded and warm."""

    address: str
    pid: int

    def segment(self, case: bytes) -> dict[str, Any]:
        """Send a zipped case, receive mask and report, and return the report. Raises BenchError if it fails."""
        request = Request(f"{self.address}/segment", data=case, headers={"Content-Type": ZIP, "Accept": ZIP})
        try:
            with urlopen(request) as response:
                answer = response.read()
        except HTTPError as error:
            raise BenchError(json.load(error)["detail"]) from error
        except OSError as error:
            raise BenchError(f"Service: expected an answer, found none: {error}") from error
        report: dict[str, Any] = json.loads(ZipFile(BytesIO(answer)).read(REPORT_NAME))
        return report

    def resident_mib(self) -> float:
        """Resident memory of its processes; memory that they share counts twice."""
        return self._status_mib("VmRSS")

    def peak_resident_mib(self) -> float:
        """Sum of the peak resident memory of its processes, which may occur at different times."""
        return self._status_mib("VmHWM")

    def cpu_s(self) -> float:
        """CPU time of its processes in seconds."""
        times = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13] for pid in self._pids]
        return sum(int(user) + int(system) for user, system in times) / os.sysconf("SC_CLK_TCK")

    def reset_peak(self) -> None:
        """Measure the peak from now on."""
        for pid in self._pids:
            Path(f"/proc/{pid}/clear_refs").write_text("5")

    @property
    def _pids(self) -> list[int]:
        """The service, and its decoder process."""
        children = Path(f"/proc/{self.pid}/task").glob("*/children")
        return [self.pid, *(int(pid) for tasks in children for pid in tasks.read_text().split())]

    def _status_mib(self, name: str) -> float:
        lines = [line for pid in self._pids for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
        return sum(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024  # from kB


@contextmanager
def running_service(**changes: str) -> Iterator[ServiceProcess]:
    """Start a service with the environment's settings and these variables, on a free port and with its own spool.

    Raises BenchError if it does not start.
    """
    port = _free_port()
    command = [sys.executable, "-m", "service.command_line.cli", "serve"]
    with TemporaryFile("w+") as log, TemporaryDirectory() as spool:
        settings = {"GLIOSERVE_HOST": LOOPBACK, "GLIOSERVE_PORT": str(port), "GLIOSERVE_SPOOL": spool}
        settings |= {f"{PREFIX}{name.upper()}": "" for name in EXCLUDED}
        process = subprocess.Popen(command, env=os.environ | settings | changes, stdout=log, stderr=log)
        try:
            service = ServiceProcess(f"http://{LOOPBACK}:{port}", process.pid)
            while not _is_ready(service.address):
                if process.poll() is not None:
                    log.seek(0)
                    raise BenchError(f"Service: expected it to start, found this in its log:\n{log.read()}")
                sleep(POLL_INTERVAL_S)
            yield service
        finally:
            process.terminate()
            process.wait(STOP_TIMEOUT_S)


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
