"""Asynchronous jobs, through HTTP: submission, status, events, results, idempotency."""

import json
from concurrent.futures import ThreadPoolExecutor
from time import sleep

import pytest
from support.api import (
    ACCEPT_MASK,
    ASYNC,
    SECONDS_TO_SEND,
    open_answer,
    post_case,
    read_problem,
    read_report,
    submit_case,
    wait_for_job,
)
from support.case_files import rename_by_role
from support.running_service import wait_until


@pytest.fixture(scope="module")
def expected(client, phantom_zip):
    """The mask that a synchronous request returns."""
    return post_case(client, phantom_zip, **ACCEPT_MASK).content


def test_a_job_has_the_same_result_as_a_synchronous_request(client, phantom_zip, expected):
    job = submit_case(client, phantom_zip)
    status = wait_for_job(client, job)
    assert status["state"] == "done"
    assert (status["queue_position"], status["estimated_remaining_s"], status["problem"]) == (None, None, None)
    assert status["slices"]["wt"] == {"done": 50, "total": 50}
    assert client.get(f"{job}/result", headers=ACCEPT_MASK).content == expected
    answer = open_answer(client.get(f"{job}/result"))
    assert answer.read("segmentation.nii.gz") == expected
    assert read_report(answer)["timings_ms"]["wait"] >= 0


def test_the_job_status_has_queue_position_progress_and_remaining_time(gate, gated_client, phantom_zip):
    jobs = [submit_case(gated_client, phantom_zip) for _ in range(2)]
    gate.wait_for_forward_pass()
    # The second one is decoded while the first one is computed.
    wait_until(lambda: gated_client.get(jobs[1]).json()["state"] == "running")
    jobs += [submit_case(gated_client, phantom_zip) for _ in range(2)]
    first, _, third, fourth = (gated_client.get(job).json() for job in jobs)
    assert first["slices"] == {"wt": {"done": 0, "total": 50}}
    assert [status["stage"] for status in (first, third)] == ["predict_wt", None]
    assert [status["queue_position"] for status in (first, third, fourth)] == [None, 1, 2]
    assert 0 < third["estimated_remaining_s"] < fourth["estimated_remaining_s"]
    gate.open()
    finished = [wait_for_job(gated_client, job)["finished"] for job in jobs]
    assert finished == sorted(finished)  # first in, first out


def test_the_event_stream_ends_with_the_final_state(gate, gated_client, phantom_zip):
    job = submit_case(gated_client, phantom_zip)
    gate.wait_for_forward_pass()
    with ThreadPoolExecutor() as threads:
        request = threads.submit(gated_client.get, f"{job}/events")
        sleep(SECONDS_TO_SEND)
        gate.open()
        response = request.result()
    assert response.headers["content-type"].startswith("text/event-stream")
    lines = response.text.splitlines()
    events = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    assert (events[0], events[-1]) == ("running", "done")
    assert set(events) == {"running", "done"}
    states = [json.loads(line.removeprefix("data: "))["state"] for line in lines if line.startswith("data: ")]
    assert states == events


@pytest.mark.parametrize(
    "headers",
    [
        [("Prefer", "respond-async; wait=5")],
        [("Prefer", "wait=10, RESPOND-ASYNC")],
        [("Prefer", "return=minimal"), ("Prefer", "respond-async")],
    ],
    ids=["parameter", "list", "two headers"],
)
def test_respond_async_is_recognised_in_every_form_of_the_prefer_header(client, headers):
    assert client.post("/segment", files={"file": b"no zip"}, headers=headers).status_code == 202


def test_a_failed_job_reports_its_problem(client):
    job = submit_case(client, b"no zip")
    assert wait_for_job(client, job)["problem"]["type"] == "urn:glioserve:problem:broken-archive"
    read_problem(client.get(f"{job}/result"), 400, "broken-archive")


def test_the_result_of_an_unfinished_job_is_409(gate, gated_client, phantom_zip):
    job = submit_case(gated_client, phantom_zip)
    response = gated_client.get(f"{job}/result")
    read_problem(response, 409, "job-not-finished")
    assert int(response.headers["Retry-After"]) >= 1
    gate.open()
    wait_for_job(gated_client, job)


@pytest.mark.parametrize("path", ["", "/result", "/events"])
def test_an_unknown_job_is_404(client, path):
    read_problem(client.get(f"/jobs/0123456789abcdef{path}"), 404, "job-not-found")


def test_an_unsupported_result_media_type_is_406(client, phantom_zip):
    job = submit_case(client, phantom_zip)
    wait_for_job(client, job)
    read_problem(client.get(f"{job}/result", headers={"Accept": "image/png"}), 406, "not-acceptable")


def test_a_repeated_idempotency_key_returns_the_same_job(client, phantom_zip, phantom_files, expected):
    key = {"Idempotency-Key": "study-1"}
    job = submit_case(client, phantom_zip, **key)
    assert submit_case(client, phantom_zip, **key) == job  # with another multipart boundary
    raw = client.post("/segment", content=phantom_zip, headers={"Content-Type": "application/zip"} | ASYNC | key)
    assert raw.headers["Location"] == job
    assert post_case(client, phantom_zip, **key, **ACCEPT_MASK).content == expected
    parts = {name: ("any name", data) for name, data in rename_by_role(phantom_files).items()}
    assert client.post("/segment", files=parts, headers=key).status_code == 409  # the same case in another form


def test_an_idempotency_key_with_a_different_case_is_409(client, phantom_zip):
    key = {"Idempotency-Key": "study-2"}
    job = submit_case(client, phantom_zip, **key)
    read_problem(post_case(client, b"another", **key), 409, "key-reused")
    relabelled = client.post("/segment?enhancing_label=3", files={"file": phantom_zip}, headers=key)
    read_problem(relabelled, 409, "key-reused")
    assert wait_for_job(client, job)["state"] == "done"


def test_concurrent_requests_with_the_same_idempotency_key_share_one_job(client, phantom_zip):
    with ThreadPoolExecutor() as threads:
        jobs = set(threads.map(lambda _: submit_case(client, phantom_zip, **{"Idempotency-Key": "study-3"}), range(4)))
    assert len(jobs) == 1
    assert wait_for_job(client, jobs.pop())["state"] == "done"


def test_an_invalid_idempotency_key_is_422(client, phantom_zip):
    response = post_case(client, phantom_zip, **{"Idempotency-Key": "a b"})
    assert "idempotency-key" in read_problem(response, 422, "invalid-parameter")
