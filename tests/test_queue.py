"""Who is let in, what a full queue, a full disk and an impatient client meet, and what an ending service leaves."""

import json
import os
import socket
import sqlite3
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from time import sleep

import httpx2
import pytest
from fastapi.testclient import TestClient
from known_networks import gated_model
from serving import LOOPBACK, listening, ready_client, wait_until
from test_jobs import ASYNC, MASK, accept, fill, finish, post, spooled
from test_segment import problem_of

from service.app import create_app
from service.settings import Settings

NOBODY = 65534


@pytest.fixture
def settings(weights, tmp_path):
    return Settings(weights=weights, device="cpu", spool=tmp_path / "spool", grace_s=0.2)


def test_a_full_queue_refuses_before_it_reads_and_says_when_to_come_again(gate, gated, phantom_zip):
    jobs = fill(gate, gated, phantom_zip)
    before = spooled(gated)
    for headers in ({}, ASYNC):
        response = gated.post("/segment", files={"file": phantom_zip}, headers=headers)
        assert "expected fewer than 2 waiting cases, found 2" in problem_of(response, 429, "queue-full")
        assert int(response.headers["Retry-After"]) >= 1
    assert spooled(gated) == before
    problem_of(gated.get("/readyz"), 503, "not-ready")
    assert gated.get("/livez").status_code == 200
    gate.let.set()
    assert [finish(gated, job)["state"] for job in jobs] == ["done"] * 4
    assert gated.get("/readyz").status_code == 200


def test_a_repeated_case_needs_no_place_in_a_full_queue(gate, gated, phantom_zip):
    key = {"Idempotency-Key": "mine"}
    job = accept(gated, phantom_zip, **key)
    assert gate.asked.wait(timeout=60)
    others = [accept(gated, phantom_zip)]
    wait_until(lambda: gated.get(others[0]).json()["state"] == "running")
    others += [accept(gated, phantom_zip) for _ in range(2)]
    assert accept(gated, phantom_zip, **key) == job
    gate.let.set()
    for each in (job, *others):
        finish(gated, each)


def head_of(length: int) -> bytes:
    """The head of a request with a zip of so many bytes."""
    lines = ("POST /segment HTTP/1.1", "Host: localhost", "Content-Type: application/zip", f"Content-Length: {length}")
    return "\r\n".join((*lines, "", "")).encode()


def send_and_keep(address, body):
    """A request whose answer nobody has read yet."""
    connection = socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])))
    connection.sendall(head_of(len(body)) + body)
    return connection


def test_a_body_that_comes_in_drops_is_408(settings):
    def drops():
        for _ in range(100):
            yield b"PK"
            sleep(0.05)

    app = create_app(settings.model_copy(update={"upload_pause_s": 0.3}))
    with listening(app) as address:
        answer = httpx2.post(f"{address}/segment", content=drops(), headers={"Content-Type": "application/zip"})
    assert "bytes of it a second" in problem_of(answer, 408, "stalled-upload")


def test_a_client_that_hangs_up_takes_its_case_along(gate, model, settings, phantom_zip):
    app = create_app(settings)
    with listening(app) as address:
        queue = app.state.lifetime.queue
        queue.worker = replace(queue.worker, model=gated_model(gate, model))
        running = send_and_keep(address, phantom_zip)
        assert gate.asked.wait(timeout=60)
        decoded = send_and_keep(address, phantom_zip)
        wait_until(lambda: queue.load.running == 2)
        waiting = send_and_keep(address, phantom_zip)
        wait_until(lambda: queue.load.depth == 1)
        waiting.close()
        wait_until(lambda: queue.load.depth == 0)
        running.close()
        decoded.close()
        gate.let.set()
        wait_until(lambda: queue.load.running == 0)
        assert gate.batches == 1  # the running one stopped at the end of its slice batch
        assert queue.spool.used_bytes == 0


def test_a_body_that_stops_coming_is_408_and_gives_its_place_back(settings):
    app = create_app(settings.model_copy(update={"upload_pause_s": 0.3}))
    with listening(app) as address:
        with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))) as connection:
            connection.sendall(head_of(1000) + b"PK")
            assert connection.recv(1000).startswith(b"HTTP/1.1 408 ")
        wait_until(lambda: app.state.lifetime.load.depth == 0)
        assert app.state.lifetime.load.spool_bytes == 0


def test_what_waits_when_the_service_ends_is_done_by_the_next(gate, gated, settings, phantom_zip):
    jobs = fill(gate, gated, phantom_zip)
    lifetime = gated.app.state.lifetime
    gated.portal.call(lifetime.end, 0.1)
    problem_of(gated.get("/readyz"), 503, "not-ready")
    problem_of(post(gated, phantom_zip), 503, "not-ready")
    gate.let.set()
    wait_until(lambda: lifetime.ended)
    with ready_client(settings) as client:
        assert [finish(client, job)["state"] for job in jobs] == ["done"] * 4
        masks = {client.get(f"{job}/result", headers=MASK).content for job in jobs}
        assert len(masks) == 1


def test_a_running_case_gets_no_more_than_its_grace_however_often_the_end_is_told(gate, gated, phantom_zip):
    job = accept(gated, phantom_zip)
    assert gate.asked.wait(timeout=60)
    lifetime = gated.app.state.lifetime
    for grace_s in (0.3, 60):
        gated.portal.call(lifetime.end, grace_s)
    sleep(0.6)
    gate.let.set()
    wait_until(lambda: lifetime.ended)
    assert gate.batches == 1
    assert read_record(gated.app.state.lifetime.settings, job)["state"] == "waiting"  # for the next start


def is_loaded(client, load):
    """Whether so many wait and so many are worked on."""
    now = client.app.state.lifetime.load
    return (now.depth, now.running) == load


def test_a_client_that_waits_when_the_service_ends_is_told(gate, gated, phantom_zip):
    with ThreadPoolExecutor() as threads:
        answers = []
        for load in ((0, 1), (0, 2), (1, 2)):
            answers.append(threads.submit(post, gated, phantom_zip))
            wait_until(partial(is_loaded, gated, load))
        gated.portal.call(gated.app.state.lifetime.end, 60)
        gate.let.set()
        statuses = [answer.result().status_code for answer in answers]
    assert sorted(statuses) == [200, 200, 503]


def rewrite(settings, statement, *values):
    """Change the records of a service that does not run."""
    with sqlite3.connect(settings.spool / "jobs.sqlite3") as database:
        database.execute(statement, values)
    database.close()


@pytest.fixture
def left(gate, gated, phantom_zip):
    """Four jobs of a service that has ended before it worked on them."""
    jobs = fill(gate, gated, phantom_zip)
    gated.portal.call(gated.app.state.lifetime.end, 0)
    gate.let.set()
    wait_until(lambda: gated.app.state.lifetime.ended)
    return jobs


def read_record(settings, job):
    """What a record says."""
    with sqlite3.connect(settings.spool / "jobs.sqlite3") as database:
        [[text]] = database.execute("SELECT record FROM jobs WHERE id = ?", [id_of(job)]).fetchall()
    database.close()
    return json.loads(text)


def record_with(settings, job, **changes):
    """Change what a record says."""
    record = json.dumps(read_record(settings, job) | changes)
    rewrite(settings, "UPDATE jobs SET record = ? WHERE id = ?", record, id_of(job))


def id_of(job):
    return job.removeprefix("/jobs/")


def test_a_job_that_was_running_twice_when_the_process_died_is_given_up(left, settings):
    record_with(settings, left[0], state="running", starts=1)
    record_with(settings, left[1], state="running", starts=2)
    with ready_client(settings) as client:
        states = [finish(client, job)["state"] for job in left]
        assert states == ["done", "failed", "done", "done"]
        assert "found that it ended 2 times" in problem_of(client.get(f"{left[1]}/result"), 500, "crash")


def test_a_broken_record_is_told_and_the_other_jobs_are_done(left, settings):
    rewrite(settings, "UPDATE jobs SET record = ? WHERE id = ?", '{"id": 7', id_of(left[0]))
    with ready_client(settings) as client:
        assert [finish(client, job)["state"] for job in left[1:]] == ["done"] * 3
        assert "broken" in problem_of(client.get(left[0]), 500, "lost-file")
        assert client.delete(left[0]).status_code == 204
        assert client.get(left[0]).status_code == 404


def test_a_deleted_spool_file_is_told_and_the_other_jobs_are_done(left, settings):
    (settings.spool / id_of(left[1]) / "file").unlink()
    with ready_client(settings) as client:
        assert [finish(client, job)["state"] for job in left] == ["done", "failed", "done", "done"]
        assert "expected the uploaded case" in problem_of(client.get(f"{left[1]}/result"), 500, "lost-file")
        (settings.spool / id_of(left[2]) / "report.json").unlink()
        problem_of(client.get(f"{left[2]}/result"), 500, "lost-file")


def test_a_damaged_spool_file_is_not_blamed_on_the_client(left, settings):
    case = settings.spool / id_of(left[3]) / "file"
    case.write_bytes(case.read_bytes()[:-1000])
    with ready_client(settings) as client:
        assert [finish(client, job)["state"] for job in left] == ["done", "done", "done", "failed"]
        assert "gone or changed" in problem_of(client.get(f"{left[3]}/result"), 500, "lost-file")


def test_what_no_job_owns_is_swept_at_the_start(settings):
    orphan = settings.spool / ("0" * 32)
    orphan.mkdir(parents=True)
    (settings.spool / "lock").touch()  # by which the service knows its own
    (orphan / "file").write_bytes(b"left by a crash")
    with ready_client(settings) as client:
        assert not orphan.exists()
        assert client.app.state.lifetime.load.spool_bytes == 0


def test_records_that_are_no_database_stop_the_service(settings):
    settings.spool.mkdir()
    (settings.spool / "lock").touch()
    (settings.spool / "jobs.sqlite3").write_bytes(b"not a database" * 100)
    with TestClient(create_app(settings), LOOPBACK) as client:
        wait_until(lambda: client.app.state.lifetime.ended)
    failure = str(client.app.state.lifetime.failure)
    assert "expected readable records in jobs.sqlite3, found: file is not a database" in failure


def test_the_spool_is_private(client):
    folder = client.app.state.lifetime.queue.spool.folder
    assert folder.stat().st_mode & 0o777 == 0o700


def test_cases_beyond_the_share_of_the_disk_are_507(settings, phantom_zip):
    with ready_client(settings.model_copy(update={"max_spool_mib": 1})) as client:
        announced = client.post("/segment", files={"file": phantom_zip})
        assert "at most 1 MiB" in problem_of(announced, 507, "spool-full")
        chunks = (phantom_zip[start : start + 2**18] for start in range(0, len(phantom_zip), 2**18))
        response = client.post("/segment", content=chunks, headers={"Content-Type": "application/zip"})
        assert "at most 1 MiB" in problem_of(response, 507, "spool-full")
        assert spooled(client) == []


@pytest.fixture
def small_disk(settings):
    """Settings whose spool is on a disk of 12 MiB."""
    settings.spool.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", settings.spool], check=False)
    if os.geteuid() != 0 or mounted.returncode != 0:
        pytest.skip("only root may mount a small disk")
    yield settings
    subprocess.run(["umount", settings.spool], check=True)


def test_a_full_disk_is_507_and_leaves_the_other_jobs_alone(small_disk, phantom_zip):
    with ready_client(small_disk) as client:
        job = accept(client, phantom_zip)
        filler = small_disk.spool / "filler"
        filler.write_bytes(bytes(8 * 2**20))
        problem_of(post(client, phantom_zip, **ASYNC), 507, "spool-full")
        assert finish(client, job)["state"] == "done"
        filler.unlink()
        assert finish(client, accept(client, phantom_zip))["state"] == "done"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody who may not write")
def test_a_spool_that_turns_read_only_is_507_and_leaves_the_other_jobs_alone(settings, phantom_zip):
    with ready_client(settings) as client:
        job = accept(client, phantom_zip)
        finish(client, job)
        os.seteuid(NOBODY)
        try:
            response = post(client, phantom_zip)
        finally:
            os.seteuid(0)
        assert "Permission denied" in problem_of(response, 507, "spool-full")
        assert client.get(f"{job}/result").status_code == 200
        assert post(client, phantom_zip).status_code == 200
