"""The queue: a full queue, a full disk, slow and disconnected clients, shutdown, and recovery after a restart."""

import json
import os
import sqlite3
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from time import sleep

import httpx2
import pytest
from fastapi.testclient import TestClient
from support.api import (
    ACCEPT_MASK,
    ASYNC,
    fill_queue,
    list_job_files,
    post_case,
    read_problem,
    submit_case,
    wait_for_job,
)
from support.known_networks import gated_model
from support.running_service import LOOPBACK, connect, ready_client, serve_in_thread, wait_until

from service.app import create_app
from service.settings import Settings

NOBODY = 65534  # the user id


@pytest.fixture
def settings(weights, tmp_path):
    return Settings(weights=weights, device="cpu", spool=tmp_path / "spool", shutdown_grace_s=0.2)


def test_a_full_queue_rejects_cases_before_reading_them_with_a_retry_after(gate, gated_client, phantom_zip):
    jobs = fill_queue(gate, gated_client, phantom_zip)
    before = list_job_files(gated_client)
    for headers in ({}, ASYNC):
        response = gated_client.post("/segment", files={"file": phantom_zip}, headers=headers)
        assert "The queue is full: 2 of at most 2 cases are waiting" in read_problem(response, 429, "queue-full")
        assert int(response.headers["Retry-After"]) >= 1
    assert list_job_files(gated_client) == before
    read_problem(gated_client.get("/readyz"), 503, "not-ready")
    assert gated_client.get("/livez").status_code == 200
    gate.open()
    assert [wait_for_job(gated_client, job)["state"] for job in jobs] == ["done"] * 4
    assert gated_client.get("/readyz").status_code == 200


def test_a_repeated_idempotency_key_is_accepted_while_the_queue_is_full(gate, gated_client, phantom_zip):
    key = {"Idempotency-Key": "mine"}
    job = submit_case(gated_client, phantom_zip, **key)
    gate.wait_for_forward_pass()
    others = [submit_case(gated_client, phantom_zip)]
    wait_until(lambda: gated_client.get(others[0]).json()["state"] == "running")
    others += [submit_case(gated_client, phantom_zip) for _ in range(2)]
    assert submit_case(gated_client, phantom_zip, **key) == job
    gate.open()
    for each in (job, *others):
        wait_for_job(gated_client, each)


def head_of(length: int) -> bytes:
    """The request line and headers of an upload of a zip of this length."""
    lines = ("POST /segment HTTP/1.1", "Host: localhost", "Content-Type: application/zip", f"Content-Length: {length}")
    return "\r\n".join((*lines, "", "")).encode()


def send_without_reading(address, body):
    """Send a case and return the connection without reading the response."""
    connection = connect(address)
    connection.sendall(head_of(len(body)) + body)
    return connection


def test_a_slow_upload_is_408(settings):
    def trickle():
        for _ in range(100):
            yield b"PK"
            sleep(0.05)

    app = create_app(settings.model_copy(update={"upload_idle_timeout_s": 0.3}))
    with serve_in_thread(app) as address:
        response = httpx2.post(f"{address}/segment", content=trickle(), headers={"Content-Type": "application/zip"})
    assert "bytes a second" in read_problem(response, 408, "stalled-upload")


def test_the_job_of_a_disconnected_client_is_cancelled(gate, model, settings, phantom_zip):
    app = create_app(settings)
    with serve_in_thread(app) as address:
        queue = app.state.runtime.queue
        queue.scheduler.worker = replace(queue.scheduler.worker, model=gated_model(gate, model))
        running = send_without_reading(address, phantom_zip)
        gate.wait_for_forward_pass()
        decoded = send_without_reading(address, phantom_zip)
        wait_until(lambda: queue.status.running == 2)
        waiting = send_without_reading(address, phantom_zip)
        wait_until(lambda: queue.status.depth == 1)
        waiting.close()
        wait_until(lambda: queue.status.depth == 0)
        running.close()
        decoded.close()
        gate.open()
        wait_until(lambda: queue.status.running == 0)
        assert gate.forward_passes == 1  # the running job stopped after its slice batch
        assert queue.spool.used_bytes == 0


def test_a_stalled_upload_is_408_and_frees_its_place_in_the_queue(settings):
    app = create_app(settings.model_copy(update={"upload_idle_timeout_s": 0.3}))
    with serve_in_thread(app) as address:
        with connect(address) as connection:
            connection.sendall(head_of(1000) + b"PK")
            assert connection.recv(1000).startswith(b"HTTP/1.1 408 ")
        wait_until(lambda: app.state.runtime.queue_status.depth == 0)
        assert app.state.runtime.queue_status.spool_bytes == 0


def test_waiting_jobs_are_recovered_after_a_restart(gate, gated_client, settings, phantom_zip):
    jobs = fill_queue(gate, gated_client, phantom_zip)
    runtime = gated_client.app.state.runtime
    gated_client.portal.call(runtime.shut_down, 0.1)
    read_problem(gated_client.get("/readyz"), 503, "not-ready")
    read_problem(post_case(gated_client, phantom_zip), 503, "not-ready")
    gate.open()
    wait_until(lambda: runtime.has_ended)
    with ready_client(settings) as client:
        assert [wait_for_job(client, job)["state"] for job in jobs] == ["done"] * 4
        masks = {client.get(f"{job}/result", headers=ACCEPT_MASK).content for job in jobs}
        assert len(masks) == 1


def test_a_second_shutdown_request_does_not_extend_the_grace_period(gate, gated_client, phantom_zip):
    job = submit_case(gated_client, phantom_zip)
    gate.wait_for_forward_pass()
    runtime = gated_client.app.state.runtime
    for shutdown_grace_s in (0.3, 60):
        gated_client.portal.call(runtime.shut_down, shutdown_grace_s)
    sleep(0.6)
    gate.open()
    wait_until(lambda: runtime.has_ended)
    assert gate.forward_passes == 1
    record = read_record(gated_client.app.state.runtime.settings, job)
    assert record["state"] == "waiting"  # to be recovered at the next start


def has_jobs(client, waiting, running):
    """Whether this many jobs wait and run."""
    load = client.app.state.runtime.queue_status
    return (load.depth, load.running) == (waiting, running)


def test_waiting_clients_get_a_503_at_shutdown(gate, gated_client, phantom_zip):
    with ThreadPoolExecutor() as threads:
        responses = []
        for waiting, running in ((0, 1), (0, 2), (1, 2)):
            responses.append(threads.submit(post_case, gated_client, phantom_zip))
            wait_until(partial(has_jobs, gated_client, waiting, running))
        gated_client.portal.call(gated_client.app.state.runtime.shut_down, 60)
        gate.open()
        statuses = [response.result().status_code for response in responses]
    assert sorted(statuses) == [200, 200, 503]


def execute_sql(settings, statement, *values):
    """Change the records of a stopped service."""
    with sqlite3.connect(settings.spool / "jobs.sqlite3") as database:
        database.execute(statement, values)
    database.close()


@pytest.fixture
def unfinished_jobs(gate, gated_client, phantom_zip):
    """Four unfinished jobs of a service that has shut down."""
    jobs = fill_queue(gate, gated_client, phantom_zip)
    gated_client.portal.call(gated_client.app.state.runtime.shut_down, 0)
    gate.open()
    wait_until(lambda: gated_client.app.state.runtime.has_ended)
    return jobs


def read_record(settings, job):
    """Read the record of a job."""
    with sqlite3.connect(settings.spool / "jobs.sqlite3") as database:
        [[text]] = database.execute("SELECT record FROM jobs WHERE id = ?", [id_of(job)]).fetchall()
    database.close()
    return json.loads(text)


def change_record(settings, job, **changes):
    """Change fields of the record of a job."""
    record = json.dumps(read_record(settings, job) | changes)
    execute_sql(settings, "UPDATE jobs SET record = ? WHERE id = ?", record, id_of(job))


def id_of(job):
    return job.removeprefix("/jobs/")


def test_a_job_that_was_running_in_two_crashes_fails(unfinished_jobs, settings):
    change_record(settings, unfinished_jobs[0], state="running", attempts=1)
    change_record(settings, unfinished_jobs[1], state="running", attempts=2)
    with ready_client(settings) as client:
        states = [wait_for_job(client, job)["state"] for job in unfinished_jobs]
        assert states == ["done", "failed", "done", "done"]
        assert "the service crashed 2 times" in read_problem(client.get(f"{unfinished_jobs[1]}/result"), 500, "crash")


def test_a_corrupt_record_is_reported_and_the_other_jobs_are_done(unfinished_jobs, settings):
    execute_sql(settings, "UPDATE jobs SET record = ? WHERE id = ?", '{"id": 7', id_of(unfinished_jobs[0]))
    with ready_client(settings) as client:
        assert [wait_for_job(client, job)["state"] for job in unfinished_jobs[1:]] == ["done"] * 3
        assert "corrupt" in read_problem(client.get(unfinished_jobs[0]), 500, "lost-file")
        assert client.delete(unfinished_jobs[0]).status_code == 204
        assert client.get(unfinished_jobs[0]).status_code == 404


def test_a_missing_spool_file_is_reported_and_the_other_jobs_are_done(unfinished_jobs, settings):
    (settings.spool / id_of(unfinished_jobs[1]) / "file").unlink()
    with ready_client(settings) as client:
        assert [wait_for_job(client, job)["state"] for job in unfinished_jobs] == ["done", "failed", "done", "done"]
        assert "expected the uploaded case" in read_problem(
            client.get(f"{unfinished_jobs[1]}/result"), 500, "lost-file"
        )
        (settings.spool / id_of(unfinished_jobs[2]) / "report.json").unlink()
        read_problem(client.get(f"{unfinished_jobs[2]}/result"), 500, "lost-file")


def test_a_damaged_spool_file_is_reported_as_a_server_error(unfinished_jobs, settings):
    case = settings.spool / id_of(unfinished_jobs[3]) / "file"
    case.write_bytes(case.read_bytes()[:-1000])
    with ready_client(settings) as client:
        assert [wait_for_job(client, job)["state"] for job in unfinished_jobs] == ["done", "done", "done", "failed"]
        assert "missing or changed" in read_problem(client.get(f"{unfinished_jobs[3]}/result"), 500, "lost-file")


def test_orphaned_job_folders_are_removed_at_startup(settings):
    orphan = settings.spool / ("0" * 32)
    orphan.mkdir(parents=True)
    (settings.spool / "lock").touch()  # which marks the folder as a spool
    (orphan / "file").write_bytes(b"left by a crash")
    with ready_client(settings) as client:
        assert not orphan.exists()
        assert client.app.state.runtime.queue_status.spool_bytes == 0


def test_an_invalid_database_file_stops_the_service(settings):
    settings.spool.mkdir()
    (settings.spool / "lock").touch()
    (settings.spool / "jobs.sqlite3").write_bytes(b"not a database" * 100)
    with TestClient(create_app(settings), LOOPBACK) as client:
        wait_until(lambda: client.app.state.runtime.has_ended)
    failure = str(client.app.state.runtime.failure)
    assert "expected readable job records in jobs.sqlite3, found: file is not a database" in failure


def test_only_the_owner_may_read_the_spool(client):
    folder = client.app.state.runtime.queue.spool.folder
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_case_over_the_spool_limit_is_507(settings, phantom_zip):
    with ready_client(settings.model_copy(update={"max_spool_mib": 1})) as client:
        announced = client.post("/segment", files={"file": phantom_zip})
        assert "at most 1 MiB" in read_problem(announced, 507, "spool-full")
        chunks = (phantom_zip[start : start + 2**18] for start in range(0, len(phantom_zip), 2**18))
        response = client.post("/segment", content=chunks, headers={"Content-Type": "application/zip"})
        assert "at most 1 MiB" in read_problem(response, 507, "spool-full")
        assert list_job_files(client) == []


@pytest.fixture
def small_disk(settings):
    """Settings with a spool on a disk of 12 MiB."""
    settings.spool.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", settings.spool], check=False)
    if os.geteuid() != 0 or mounted.returncode != 0:
        pytest.skip("only root can mount a small disk")
    yield settings
    subprocess.run(["umount", settings.spool], check=True)


def test_a_full_disk_is_507_and_other_jobs_are_unaffected(small_disk, phantom_zip):
    with ready_client(small_disk) as client:
        job = submit_case(client, phantom_zip)
        filler = small_disk.spool / "filler"
        filler.write_bytes(bytes(8 * 2**20))
        read_problem(post_case(client, phantom_zip, **ASYNC), 507, "spool-full")
        assert wait_for_job(client, job)["state"] == "done"
        filler.unlink()
        assert wait_for_job(client, submit_case(client, phantom_zip))["state"] == "done"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can switch to a user without write permission")
def test_a_spool_without_write_permission_is_507_and_other_jobs_are_unaffected(settings, phantom_zip):
    with ready_client(settings) as client:
        job = submit_case(client, phantom_zip)
        wait_for_job(client, job)
        os.seteuid(NOBODY)
        try:
            response = post_case(client, phantom_zip)
        finally:
            os.seteuid(0)
        assert "Permission denied" in read_problem(response, 507, "spool-full")
        assert client.get(f"{job}/result").status_code == 200
        assert post_case(client, phantom_zip).status_code == 200
