"""The service in a process of its own that is killed, told to end, or flooded."""

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from random import Random
from threading import Event, Thread

import httpx2
from serving import free_port, served, wait_until

ASYNC = {"Prefer": "respond-async"}
MASK = {"Accept": "application/gzip"}
KILLS = 20
SECONDS_TO_ANSWER = 60


class Client:
    """Sends one case after another, each with a key of its own, until it is stopped; repeats what got no answer."""

    def __init__(self, address: str, body: bytes) -> None:
        self.address, self.body = address, body
        self.accepted: dict[str, str] = {}  # address of the job by key
        self.stopped = Event()
        self.thread = Thread(target=self.run)

    def run(self) -> None:
        for number in count():
            key = f"case-{number}"
            while key not in self.accepted:
                if self.stopped.is_set():
                    return
                with suppress(httpx2.TransportError):  # the server is dead, or died
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


def test_no_accepted_job_is_lost_or_done_twice_when_the_process_is_killed_again_and_again(
    weights, phantom_zip, tmp_path
):
    random = Random(4)
    port = free_port()
    # The kills come from outside and may meet one job several times, so no job is to be blamed for them.
    settings = {"weights": weights, "port": port, "max_starts": KILLS + 1, "precision": "float32"}
    client = Client(f"http://127.0.0.1:{port}", phantom_zip)
    client.thread.start()
    try:
        for _ in range(KILLS):
            with served(tmp_path, **settings) as server:
                time.sleep(random.uniform(0, 2))
                server.process.send_signal(signal.SIGKILL)
                server.process.wait()
    finally:
        client.stop()
    with served(tmp_path, **settings) as server, httpx2.Client(base_url=server.address) as http:
        quiet = http.post("/segment", files={"file": phantom_zip}, headers=MASK, timeout=SECONDS_TO_ANSWER).content
        for job in client.accepted.values():
            wait_until(lambda job=job: http.get(job).json()["state"] in ("done", "failed"))
        results = [http.get(f"{job}/result", headers=MASK).content for job in client.accepted.values()]
        assert len(results) >= KILLS / 2
        assert all(result == quiet for result in results)
        assert len(set(client.accepted.values())) == len(client.accepted)
        spooled = sorted(path.parent.name for path in (tmp_path / "spool").glob("*/segmentation.nii.gz"))
    # one job and one result for each case, and none that nobody was told of but a last one without an answer
    assert len(set(spooled) - {job.removeprefix("/jobs/") for job in client.accepted.values()}) <= 1


def test_a_process_that_is_told_to_end_keeps_what_waits_for_the_next(weights, phantom_zip, tmp_path):
    with served(tmp_path, weights=weights) as server, httpx2.Client(base_url=server.address) as http:
        jobs = [http.post("/segment", files={"file": phantom_zip}, headers=ASYNC).headers["Location"] for _ in range(6)]
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(timeout=30) == 0
    with served(tmp_path, weights=weights) as server, httpx2.Client(base_url=server.address) as http:
        for job in jobs:
            wait_until(lambda job=job: http.get(job).json()["state"] == "done")
    assert "Traceback" not in server.log.read_text()


def test_a_flood_is_served_in_the_end(weights, phantom_zip, tmp_path):
    def send(number):
        """The statuses that a client meets that comes again when it is told."""
        statuses = []
        with httpx2.Client(base_url=server.address, timeout=SECONDS_TO_ANSWER) as http:
            while not statuses or statuses[-1] == 429:
                headers = ASYNC if number % 2 else {}
                response = http.post("/segment", files={"file": phantom_zip}, headers=headers)
                statuses.append(response.status_code)
                if response.status_code == 429:
                    time.sleep(int(response.headers["Retry-After"]))
        return statuses

    with served(tmp_path, weights=weights) as server, ThreadPoolExecutor(50) as threads:
        met = list(threads.map(send, range(50)))
    assert {status for statuses in met for status in statuses} == {200, 202, 429}
    assert all(statuses[-1] in (200, 202) for statuses in met)
    assert "Traceback" not in server.log.read_text()
