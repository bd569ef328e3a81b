"""Shutdown with unfinished jobs, and their recovery after a restart."""

import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import sleep

import pytest
from fastapi.testclient import TestClient
from support.api import ACCEPT_MASK, fill_queue, post_case, read_json_lines, read_problem, submit_case, wait_for_job
from support.running_service import LOOPBACK, ready_client, wait_until

from service.app import create_app


def test_waiting_jobs_are_recovered_after_a_restart(gate, gated_client, settings, phantom_zip):
    jobs = fill_queue(gate, gated_client, phantom_zip)
    runtime = gated_client.app.state.runtime
    gated_client.portal.call(runtime.shut_down, 0.1)
    read_problem(gated_client.get("/readyz"), 503, "not-ready")
    read_problem(post_case(gated_client, phantom_zip), 503, "not-ready")
    gate.open()
    wait_until(lambda: runtime.has_ended)
    audit_lines = read_json_lines(settings.spool / "audit.jsonl")
    assert [line["outcome"] for line in audit_lines if line["event"] == "job"] == ["interrupted"] * 4
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
