"""Fuzzing of a service in a process of its own with malformed and unusual requests."""

import json
import re
import socket
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from itertools import count
from pathlib import Path
from shutil import rmtree
from threading import Lock
from time import monotonic, sleep

import h11
import httpx2
from prometheus_client.parser import text_string_to_metric_families
from support.known_networks import known_model, save_model
from support.running_service import serve_in_process, wait_until

from fuzz.inputs import SECRET, corpus
from fuzz.requests import Attempt, Requests, malicious_bodies, valid_uploads
from service.command_line.bench.service_process import ServiceProcess
from service.imaging.phantom import SLAB_GRID, make_phantom
from service.security.keys import KeyFile, Scope

CLIENTS = 8
WARM_UP_REQUESTS = 2000  # before memory is measured
HANG_S = 30
IDLE_TIMEOUT_S = 120
MAX_MEMORY_RATIO = 1.15  # after, divided by before
MAX_HEAD_BYTES = 2**14  # the limit of h11, and so of uvicorn
SPOOL_FULL, NOT_READY = 507, 503  # not a failure: 507 for a full spool, 503 of /readyz for a full queue
SETTINGS = {
    "device": "cpu",
    "precision": "float32",
    "threads": 1,
    "queue_size": 2,  # so that some cases are rejected
    "max_upload_mib": 16,
    "max_unpacked_mib": 64,
    "max_spool_mib": 64,
    "upload_idle_timeout_s": 3,
    "result_retention_s": 20,
    "requests_per_minute": 10**6,
}


@dataclass
class Tally:
    """The responses of the server, and what was found."""

    requests: int = 0
    seconds: float = 0
    statuses: Counter[int | str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)  # 5xx responses, responses that break a rule, leftovers
    hangs: list[str] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)
    leftover: int = 0  # job folders on the spool
    memory_ratio: float = 0


def fuzz_http(seed: int, seconds: float, min_requests: int, out: Path) -> Tally:
    """Send requests for some seconds, or up to three times as long to reach a minimum; then check for leftovers."""
    folder = out / "http"
    rmtree(folder, ignore_errors=True)
    tally, jobs = Tally(), Jobs()
    for make in (corpus, valid_uploads, malicious_bodies):
        make()  # fill the caches once, not in every client
    keys = make_keys(folder.with_suffix(".keys"))
    settings = SETTINGS | {"weights": known_weights(out), "keys_file": folder.with_suffix(".keys")}
    with (
        serve_in_process(folder, **settings) as service,
        httpx2.Client(base_url=service.address, headers={"Authorization": f"Bearer {keys[0]}"}) as admin,
    ):
        server = ServiceProcess(service.address, service.process.pid)
        clients = [Client(server.address, f"{seed}:{number}", jobs, out, keys) for number in range(CLIENTS)]
        run(clients, Tally(), lambda tally: tally.requests < WARM_UP_REQUESTS)
        wait_until_idle(admin, tally)
        before_mib = server.resident_mib()
        started = monotonic()

        def has_time_left(tally: Tally) -> bool:
            elapsed_s = monotonic() - started
            return elapsed_s < seconds or (tally.requests < min_requests and elapsed_s < 3 * seconds)

        run(clients, tally, has_time_left)
        tally.seconds = monotonic() - started
        wait_until_idle(admin, tally)
        tally.memory_ratio = server.resident_mib() / before_mib
        clean_up(admin, jobs, folder / "spool", tally)
        if service.process.poll() is not None:
            tally.failures.append(f"the server exited with status {service.process.returncode}")
    for log in (service.log, folder / "spool" / "audit.jsonl"):
        check_log(log, tally)
    return tally


def make_keys(path: Path) -> list[str]:
    """Make two keys: one with the admin scope and one with the segment scope."""
    path.unlink(missing_ok=True)
    return [KeyFile(path).add(scope, [scope]) for scope in (Scope.ADMIN, Scope.SEGMENT)]


def known_weights(out: Path) -> Path:
    """Write the weights folder of the known networks."""
    return save_model(out / "weights", known_model(make_phantom(SLAB_GRID)))


class Jobs(list[str]):
    """The ids of the submitted jobs."""


def run(clients: list["Client"], tally: Tally, has_time_left: Callable[[Tally], bool]) -> None:
    """Let every client send one request after another."""
    lock = Lock()

    def send(client: Client) -> None:
        while has_time_left(tally):
            client.send_next(tally, lock)

    with ThreadPoolExecutor(len(clients)) as threads:
        list(threads.map(send, clients))


class Client:
    """Sends the requests of one seed, each over its own connection."""

    def __init__(self, address: str, seed: str, jobs: Jobs, out: Path, keys: list[str]) -> None:
        host, _, port = address.removeprefix("http://").partition(":")
        self._address, self._requests, self._jobs = (host, int(port)), Requests(seed, jobs, keys), jobs
        self._seed, self._out, self._numbers = seed, out, count()

    def send_next(self, tally: Tally, lock: Lock) -> None:
        """Send the next request and count its outcome."""
        attempt, number = self._requests.next(), next(self._numbers)
        started = monotonic()
        try:
            status, fault = self._exchange(attempt)
        except TimeoutError:
            status, fault = "hang", None
        except (OSError, HTTPException) as error:
            must_answer = attempt.must_answer and is_http(attempt.data)
            status, fault = "none", f"{type(error).__name__}: {error}" if must_answer else None
        with lock:
            tally.requests += 1
            tally.statuses[status] += 1
            if fault or status == "hang":
                path = self._save(number, attempt)
                found = f"{fault or status} after {monotonic() - started:.1f} s: {path}"
                {"hang": tally.hangs, "none": tally.unanswered}.get(status, tally.failures).append(found)

    def _exchange(self, attempt: Attempt) -> tuple[int | str, str | None]:
        """Return the status of the response and what is wrong with it."""
        with socket.create_connection(self._address, timeout=HANG_S) as connection:
            with suppress(BrokenPipeError, ConnectionResetError):  # possibly answered before everything was sent
                self._send(connection, attempt)
            if attempt.disconnects:
                return "disconnected", None
            if attempt.bytes_to_read is not None:
                connection.recv(attempt.bytes_to_read + 1)
                return "disconnected", None
            response = HTTPResponse(connection, method=attempt.method)
            response.begin()
            body = response.read()
        if response.status == 202:
            self._jobs.append(json.loads(body)["id"])
        return response.status, find_fault(response, body, attempt.target)

    def _send(self, connection: socket.socket, attempt: Attempt) -> None:
        data = attempt.data[: attempt.cut]
        size = max(1, -(-len(data) // attempt.pieces))
        for start in range(0, len(data), size):
            connection.sendall(data[start : start + size])
            sleep(attempt.pause_s)
        if attempt.cut is not None and not attempt.disconnects:
            connection.shutdown(socket.SHUT_WR)

    def _save(self, number: int, attempt: Attempt) -> Path:
        path = self._out / f"request-{self._seed.replace(':', '-')}-{number}.bytes"
        path.write_bytes(attempt.data)
        return path


def is_http(data: bytes) -> bool:
    """Whether h11 accepts the data as a request; the server may close other connections without a response."""
    parser = h11.Connection(h11.SERVER, MAX_HEAD_BYTES)
    parser.receive_data(data[: 2 * MAX_HEAD_BYTES])
    try:
        while parser.next_event() not in (h11.NEED_DATA, h11.PAUSED):
            pass
    except h11.RemoteProtocolError:
        return False
    return True


def find_fault(response: HTTPResponse, body: bytes, target: bytes) -> str | None:
    """Return the rules that a response breaks, or None."""
    status, headers = response.status, response.headers
    kind = headers.get_content_type()
    if status == 400 and kind == "text/plain" and "X-Request-ID" not in headers:
        return None  # the response of uvicorn itself to an invalid request
    is_allowed_5xx = status == SPOOL_FULL or (status == NOT_READY and target.startswith(b"/readyz"))
    rules = {
        f"server error: {body[:300]!r}": status < 500 or is_allowed_5xx,
        f"it quotes the client: {body[:300]!r}": SECRET.encode() not in body,
        "no X-Request-ID": "X-Request-ID" in headers,
        f"not a problem but {kind}": status < 400 or kind == "application/problem+json",
        "no Allow": status != 405 or headers.get("Allow"),
        "no Retry-After": status != 429 or headers.get("Retry-After", "").isdecimal(),
    }
    broken = [rule for rule, holds in rules.items() if not holds]
    return f"{status}, {'; '.join(broken)}" if broken else None


def wait_until_idle(client: httpx2.Client, tally: Tally) -> None:
    """Wait until no job waits or runs."""

    def is_idle() -> bool:
        families = text_string_to_metric_families(client.get("/metrics").text)
        samples = {sample.name: sample.value for family in families for sample in family.samples}
        return samples["glioserve_queue_depth"] == samples["glioserve_running"] == 0

    try:
        wait_until(is_idle, IDLE_TIMEOUT_S)
        sleep(1)
        client.get("/livez").raise_for_status()
    except AssertionError:
        tally.failures.append("the queue did not become empty")


def clean_up(client: httpx2.Client, jobs: Jobs, spool: Path, tally: Tally) -> None:
    """Delete all jobs, wait until their folders are gone, and count the leftovers."""
    for job in jobs:
        client.delete(f"/jobs/{job}")
    try:
        wait_until(lambda: not count_folders(spool), IDLE_TIMEOUT_S)
    except AssertionError:
        tally.leftover = count_folders(spool)
    used = re.search(r"^glioserve_spool_bytes (\S+)$", client.get("/metrics").text, re.MULTILINE)
    if float(used[1]) != 0:
        tally.failures.append(f"the empty spool is reported to hold {used[1]} bytes")


def count_folders(spool: Path) -> int:
    """The number of job folders on the spool."""
    return sum(path.is_dir() for path in spool.iterdir())


def check_log(log: Path, tally: Tally) -> None:
    """Check that a log quotes no client and has no traceback."""
    text = log.read_text(errors="replace")
    if SECRET in text:
        tally.failures.append(f"the log quotes a client: {log}")
    if traces := text.count("Traceback"):
        tally.failures.append(f"the log has {traces} tracebacks: {log}")
