"""The service in a process of its own under requests that nobody would send."""

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
from fuzz_inputs import SECRET, corpus
from fuzz_requests import Attempt, Requests, good_uploads, hostile_bodies
from known_networks import known_model, save_model
from prometheus_client.parser import text_string_to_metric_families
from serving import served, wait_until

from service.bench.server import Server
from service.keys import KeyFile, Scope
from service.phantom import SLAB_GRID, make_phantom

CLIENTS = 8
WARM_UPS = 2000  # requests, before memory is measured
SECONDS_OF_A_HANG = 30
SECONDS_TO_SETTLE = 120
MOST_MEMORY = 1.15  # times what there was before
MOST_HEAD_BYTES = 2**14  # the limit of h11, and so of uvicorn
FULL, NOT_READY = 507, 503  # a spool that is full is told so, and by /readyz a queue; that is no failure
SETTINGS = {
    "device": "cpu",
    "precision": "float32",
    "threads": 1,
    "max_waiting": 2,  # so that some are refused
    "max_upload_mib": 16,
    "max_unpacked_mib": 64,
    "max_spool_mib": 64,
    "upload_pause_s": 3,
    "keep_results_s": 20,
    "requests_per_minute": 10**6,
}


@dataclass
class Tally:
    """What the server did."""

    requests: int = 0
    seconds: float = 0
    statuses: Counter[int | str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)  # 5xx, answers that break a rule, what is left in the end
    hangs: list[str] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)
    left: int = 0  # folders of jobs on the spool
    memory_ratio: float = 0


def fuzz_http(seed: int, seconds: float, least: int, out: Path) -> Tally:
    """Send requests for so many seconds, and longer where they are fewer than the least; then see what is left."""
    folder = out / "http"
    rmtree(folder, ignore_errors=True)
    tally, jobs = Tally(), Jobs()
    for make in (corpus, good_uploads, hostile_bodies):
        make()  # once, not by each client at the same time
    keys = make_keys(folder.with_suffix(".keys"))
    settings = SETTINGS | {"weights": known_weights(out), "keys": folder.with_suffix(".keys")}
    with (
        served(folder, **settings) as service,
        httpx2.Client(base_url=service.address, headers={"Authorization": f"Bearer {keys[0]}"}) as watcher,
    ):
        server = Server(service.address, service.process.pid)
        clients = [Client(server.address, f"{seed}:{number}", jobs, out, keys) for number in range(CLIENTS)]
        run(clients, Tally(), lambda tally: tally.requests < WARM_UPS)
        settle(watcher, tally)
        before_mib = server.resident_mib()
        started = monotonic()

        def goes_on(tally: Tally) -> bool:
            passed = monotonic() - started
            return passed < seconds or (tally.requests < least and passed < 3 * seconds)

        run(clients, tally, goes_on)
        tally.seconds = monotonic() - started
        settle(watcher, tally)
        tally.memory_ratio = server.resident_mib() / before_mib
        clean_up(watcher, jobs, folder / "spool", tally)
        if service.process.poll() is not None:
            tally.failures.append(f"the server ended with {service.process.returncode}")
    for log in (service.log, folder / "spool" / "audit.jsonl"):
        read_log(log, tally)
    return tally


def make_keys(path: Path) -> list[str]:
    """New keys: one that may do everything, and one that may not."""
    path.unlink(missing_ok=True)
    return [KeyFile(path).add(scope, [scope]) for scope in (Scope.ADMIN, Scope.SEGMENT)]


def known_weights(out: Path) -> Path:
    """Small networks, as the service loads them."""
    return save_model(out / "weights", known_model(make_phantom(SLAB_GRID)))


class Jobs(list[str]):
    """The ids that the server gave."""


def run(clients: list["Client"], tally: Tally, goes_on: Callable[[Tally], bool]) -> None:
    """Let every client send one request after the other."""
    lock = Lock()

    def send(client: Client) -> None:
        while goes_on(tally):
            client.send_next(tally, lock)

    with ThreadPoolExecutor(len(clients)) as threads:
        list(threads.map(send, clients))


class Client:
    """Sends the attempts of one seed, each over a connection of its own."""

    def __init__(self, address: str, seed: str, jobs: Jobs, out: Path, keys: list[str]) -> None:
        host, _, port = address.removeprefix("http://").partition(":")
        self._address, self._requests, self._jobs = (host, int(port)), Requests(seed, jobs, keys), jobs
        self._seed, self._out, self._numbers = seed, out, count()

    def send_next(self, tally: Tally, lock: Lock) -> None:
        """Send the next one, and count what came of it."""
        attempt, number = self._requests.next(), next(self._numbers)
        started = monotonic()
        try:
            status, wrong = self._exchange(attempt)
        except TimeoutError:
            status, wrong = "hang", None
        except (OSError, HTTPException) as error:
            is_due = attempt.due and is_http(attempt.data)
            status, wrong = "none", f"{type(error).__name__}: {error}" if is_due else None
        with lock:
            tally.requests += 1
            tally.statuses[status] += 1
            if wrong or status == "hang":
                path = self._keep(number, attempt)
                found = f"{wrong or status} after {monotonic() - started:.1f} s: {path}"
                {"hang": tally.hangs, "none": tally.unanswered}.get(status, tally.failures).append(found)

    def _exchange(self, attempt: Attempt) -> tuple[int | str, str | None]:
        """The status of the answer, and what is wrong about it."""
        with socket.create_connection(self._address, timeout=SECONDS_OF_A_HANG) as connection:
            with suppress(BrokenPipeError, ConnectionResetError):  # answered before all of it was sent, it may be
                self._send(connection, attempt)
            if attempt.hangs_up:
                return "hung up", None
            if attempt.patience is not None:
                connection.recv(attempt.patience + 1)
                return "hung up", None
            response = HTTPResponse(connection, method=attempt.method)
            response.begin()
            body = response.read()
        if response.status == 202:
            self._jobs.append(json.loads(body)["id"])
        return response.status, wrong_about(response, body, attempt.target)

    def _send(self, connection: socket.socket, attempt: Attempt) -> None:
        data = attempt.data[: attempt.cut]
        size = max(1, -(-len(data) // attempt.pieces))
        for start in range(0, len(data), size):
            connection.sendall(data[start : start + size])
            sleep(attempt.pause_s)
        if attempt.cut is not None and not attempt.hangs_up:
            connection.shutdown(socket.SHUT_WR)

    def _keep(self, number: int, attempt: Attempt) -> Path:
        path = self._out / f"request-{self._seed.replace(':', '-')}-{number}.bytes"
        path.write_bytes(attempt.data)
        return path


def is_http(data: bytes) -> bool:
    """Whether the server's parser takes it for a request; what it does not is cut off, at times without a word."""
    parser = h11.Connection(h11.SERVER, MOST_HEAD_BYTES)
    parser.receive_data(data[: 2 * MOST_HEAD_BYTES])
    try:
        while parser.next_event() not in (h11.NEED_DATA, h11.PAUSED):
            pass
    except h11.RemoteProtocolError:
        return False
    return True


def wrong_about(response: HTTPResponse, body: bytes, target: bytes) -> str | None:
    """What of an answer breaks a rule that holds for all."""
    status, headers = response.status, response.headers
    kind = headers.get_content_type()
    if status == 400 and kind == "text/plain" and "X-Request-ID" not in headers:
        return None  # uvicorn's own, about what is no request
    may_fail = status == FULL or (status == NOT_READY and target.startswith(b"/readyz"))
    rules = {
        f"a failure: {body[:300]!r}": status < 500 or may_fail,
        f"it quotes the client: {body[:300]!r}": SECRET.encode() not in body,
        "no X-Request-ID": "X-Request-ID" in headers,
        f"no problem but {kind}": status < 400 or kind == "application/problem+json",
        "no Allow": status != 405 or headers.get("Allow"),
        "no Retry-After": status != 429 or headers.get("Retry-After", "").isdecimal(),
    }
    broken = [rule for rule, holds in rules.items() if not holds]
    return f"{status}, {'; '.join(broken)}" if broken else None


def settle(client: httpx2.Client, tally: Tally) -> None:
    """Wait until nothing waits and nothing runs."""

    def is_idle() -> bool:
        families = text_string_to_metric_families(client.get("/metrics").text)
        samples = {sample.name: sample.value for family in families for sample in family.samples}
        return samples["glioserve_queue_depth"] == samples["glioserve_running"] == 0

    try:
        wait_until(is_idle, SECONDS_TO_SETTLE)
        sleep(1)
        client.get("/livez").raise_for_status()
    except AssertionError:
        tally.failures.append("the queue is not empty in the end")


def clean_up(client: httpx2.Client, jobs: Jobs, spool: Path, tally: Tally) -> None:
    """Delete jobs, wait for the others to expire, and count what is left."""
    for job in jobs:
        client.delete(f"/jobs/{job}")
    try:
        wait_until(lambda: not folders(spool), SECONDS_TO_SETTLE)
    except AssertionError:
        tally.left = folders(spool)
    used = re.search(r"^glioserve_spool_bytes (\S+)$", client.get("/metrics").text, re.MULTILINE)
    if float(used[1]) != 0:
        tally.failures.append(f"{used[1]} bytes are counted on an empty spool")


def folders(spool: Path) -> int:
    """The jobs on the spool."""
    return sum(path.is_dir() for path in spool.iterdir())


def read_log(log: Path, tally: Tally) -> None:
    """See that the log quotes no client, and tells of no failure of our own."""
    text = log.read_text(errors="replace")
    if SECRET in text:
        tally.failures.append(f"the log quotes a client: {log}")
    if traces := text.count("Traceback"):
        tally.failures.append(f"the log has {traces} tracebacks: {log}")
