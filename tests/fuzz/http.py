"""Fuzzing of a service in a process of its own with malformed and unusual requests."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import rmtree
from threading import Lock
from time import monotonic, sleep

import httpx2
from prometheus_client.parser import text_string_to_metric_families
from support.known_networks import known_model, save_model
from support.running_service import serve_in_process, wait_until

from fuzz.client import Client, Jobs, Tally
from fuzz.corpus import SECRET, corpus, malicious_bodies, valid_uploads
from service.command_line.bench.service_process import ServiceProcess
from service.imaging.phantom import SLAB_GRID, make_phantom
from service.security.keys import KeyFile, Scope

CLIENTS = 8
WARM_UP_REQUESTS = 2000  # before memory is measured
IDLE_TIMEOUT_S = 120
MAX_MEMORY_RATIO = 1.15  # after, divided by before
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


def run(clients: list["Client"], tally: Tally, has_time_left: Callable[[Tally], bool]) -> None:
    """Let every client send one request after another."""
    lock = Lock()

    def send(client: Client) -> None:
        while has_time_left(tally):
            client.send_next(tally, lock)

    with ThreadPoolExecutor(len(clients)) as threads:
        list(threads.map(send, clients))


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
