"""The service in a process of its own: killed, stopped by SIGTERM, and overloaded."""

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from random import Random
from threading import Event, Thread

import httpx2
from support.api import ACCEPT_MASK, ASYNC, post_case, submit_case, wait_for_job
from support.running_service import free_port, serve_in_process

KILLS = 20
TIMEOUT_S = 60


class RetryingClient:
    """Submits cases, each with its own idempotency key, until it is stopped; retries if there was no response."""

    def __init__(self, address: str, body: bytes) -> None:
        self.address, self.body = address, body
        self.accepted: dict[str, str] = {}  # path of the job by idempotency key
        self.stopped = Event()
        self.thread = Thread(target=self.run)

    def run(self) -> None:
        for number in count():
            key = f"case-{number}"
            while key not in self.accepted:
                if self.stopped.is_set():
                    return
                with suppress(httpx2.TransportError):  # the server was killed
                    self.send(key)
                time.sleep(0.05)

    def send(self, key: str) -> None:
        headers = ASYNC | {"Content-Type": "application/zip", "Idempotency-Key": key}
        response = httpx2.post(f"{self.address}/segment", content=self.body, headers=headers)
        assert response.status_code in (202, 429, 503), response.text
        if response.status_code == 202:
            self.accepted[key] = response.headers["Location"]

    def stop(self) -> None:
        self.stopped.set()
        self.thread.join()


def test_no_accepted_job_is_lost_or_duplicated_by_repeated_kills(weights, phantom_zip, tmp_path):
    random = Random(4)
    port = free_port()
    # The same job may run during several kills, which must not count as crashes that the job caused.
    settings = {"weights": weights, "port": port, "max_attempts": KILLS + 1, "precision": "float32"}
    client = RetryingClient(f"http://127.0.0.1:{port}", phantom_zip)
    client.thread.start()
    try:
        for _ in range(KILLS):
            with serve_in_process(tmp_path, **settings) as server:
                time.sleep(random.uniform(0, 2))
                server.process.send_signal(signal.SIGKILL)
                server.process.wait()
    finally:
        client.stop()
    with (
        serve_in_process(tmp_path, **settings) as server,
        httpx2.Client(base_url=server.address, timeout=TIMEOUT_S) as http,
    ):
        undisturbed = post_case(http, phantom_zip, **ACCEPT_MASK).content
        for job in client.accepted.values():
            wait_for_job(http, job)
        results = [http.get(f"{job}/result", headers=ACCEPT_MASK).content for job in client.accepted.values()]
        assert len(results) >= KILLS / 2
        assert all(result == undisturbed for result in results)
        assert len(set(client.accepted.values())) == len(client.accepted)
        spooled = sorted(path.parent.name for path in (tmp_path / "spool").glob("*/segmentation.nii.gz"))
    # One result per case; the client may not have received the response to its last submission.
    assert len(set(spooled) - {job.removeprefix("/jobs/") for job in client.accepted.values()}) <= 1


def test_jobs_waiting_at_sigterm_are_done_after_a_restart(weights, phantom_zip, tmp_path):
    with serve_in_process(tmp_path, weights=weights) as server, httpx2.Client(base_url=server.address) as http:
        jobs = [submit_case(http, phantom_zip) for _ in range(6)]
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(timeout=30) == 0
    assert len(list((tmp_path / "spool").glob("*/segmentation.nii.gz"))) < len(jobs)
    with serve_in_process(tmp_path, weights=weights) as server, httpx2.Client(base_url=server.address) as http:
        assert [wait_for_job(http, job)["state"] for job in jobs] == ["done"] * 6
    assert "Traceback" not in server.log.read_text()


def test_clients_that_retry_after_429_are_all_served(weights, phantom_zip, tmp_path):
    def send(number):
        """Send a case until it is accepted, waiting for Retry-After after each 429, and return every status."""
        statuses = []
        with httpx2.Client(base_url=server.address, timeout=TIMEOUT_S) as http:
            while not statuses or statuses[-1] == 429:
                response = post_case(http, phantom_zip, **(ASYNC if number % 2 else {}))
                statuses.append(response.status_code)
                if response.status_code == 429:
                    time.sleep(int(response.headers["Retry-After"]))
        return statuses

    with serve_in_process(tmp_path, weights=weights) as server, ThreadPoolExecutor(50) as threads:
        received = list(threads.map(send, range(50)))
    assert {status for statuses in received for status in statuses} == {200, 202, 429}
    assert all(statuses[-1] in (200, 202) for statuses in received)
    assert "Traceback" not in server.log.read_text()
