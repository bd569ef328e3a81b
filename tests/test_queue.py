"""The queue: a full queue, and slow and disconnected clients."""

from dataclasses import replace
from time import sleep

import httpx2
from support.api import ASYNC, fill_queue, list_job_files, read_problem, submit_case, wait_for_job
from support.known_networks import gated_model
from support.running_service import connect, serve_in_thread, wait_until

from service.app import create_app


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
