"""Jobs, through HTTP: accepted, followed, repeated, cancelled, expired."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import pytest
from serving import ready_client, wait_until

from service.phantom import ENDINGS
from service.segmentation.case import role_of
from service.settings import Settings

ASYNC = {"Prefer": "respond-async"}
MASK = {"Accept": "application/gzip"}


def post(client, body, **headers):
    return client.post("/segment", files={"file": body}, headers=headers)


def accept(client, body, **headers):
    """The address of a new job."""
    response = post(client, body, **ASYNC, **headers)
    assert response.status_code == 202, response.text
    assert response.headers["Preference-Applied"] == "respond-async"
    return response.headers["Location"]


def fill(gate, gated, body):
    """One case computes, one is decoded, and two wait, which is as many as may."""
    jobs = [accept(gated, body)]
    assert gate.asked.wait(timeout=60)
    jobs.append(accept(gated, body))
    wait_until(lambda: gated.get(jobs[1]).json()["state"] == "running")
    return jobs + [accept(gated, body) for _ in range(2)]


def finish(client, job):
    wait_until(lambda: client.get(job).json()["state"] in ("done", "failed"))
    return client.get(job).json()


def spooled(client):
    """Every file of a job that is on disk; folders may go while this looks."""
    folder = client.app.state.lifetime.queue.spool.folder
    return sorted(name for job, _, names in os.walk(folder) if Path(job) != folder for name in names)


@pytest.fixture(scope="module")
def expected(client, phantom_zip):
    return post(client, phantom_zip, **MASK).content


def test_a_job_gives_what_the_waiting_client_would_have_got(client, phantom_zip, expected):
    job = accept(client, phantom_zip)
    status = finish(client, job)
    assert status["state"] == "done"
    assert (status["place"], status["estimated_s"], status["problem"]) == (None, None, None)
    assert status["slices"]["wt"] == {"done": 50, "of": 50}
    assert client.get(f"{job}/result", headers=MASK).content == expected
    archive = ZipFile(BytesIO(client.get(f"{job}/result").content))
    assert archive.read("segmentation.nii.gz") == expected
    assert json.loads(archive.read("report.json"))["timings_ms"]["wait"] >= 0


def test_a_finished_job_leaves_its_result_on_disk_and_not_its_case(client, phantom_zip):
    job = accept(client, phantom_zip)
    finish(client, job)
    assert "segmentation.nii.gz" in spooled(client)
    wait_until(lambda: "file" not in spooled(client))
    assert client.delete(job).status_code == 204


def test_a_request_that_waits_for_its_answer_leaves_nothing_on_disk(client, phantom_zip):
    before = spooled(client)
    assert post(client, phantom_zip).status_code == 200
    wait_until(lambda: spooled(client) == before)


def test_a_job_tells_its_place_its_slices_and_what_time_it_needs(gate, gated, phantom_zip):
    jobs = [accept(gated, phantom_zip) for _ in range(2)]
    assert gate.asked.wait(timeout=60)
    wait_until(lambda: gated.get(jobs[1]).json()["state"] == "running")  # it is decoded while the first is computed
    jobs += [accept(gated, phantom_zip) for _ in range(2)]
    first, _, third, fourth = (gated.get(job).json() for job in jobs)
    assert first["slices"] == {"wt": {"done": 0, "of": 50}}
    assert [status["place"] for status in (first, third, fourth)] == [None, 1, 2]
    assert 0 < third["estimated_s"] < fourth["estimated_s"]
    gate.let.set()
    ended = [finish(gated, job)["finished"] for job in jobs]
    assert ended == sorted(ended)  # first in, first out


def test_events_follow_a_job_to_its_end(client, phantom_zip):
    with client.stream("GET", f"{accept(client, phantom_zip)}/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = list(response.iter_lines())
    events = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    assert events[-1] == "done"
    assert set(events[:-1]) <= {"waiting", "running"}
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
def test_the_preference_is_found_in_every_form_of_its_header(client, headers):
    assert client.post("/segment", files={"file": b"no zip"}, headers=headers).status_code == 202


def test_events_of_a_job_that_is_removed_say_so(gate, gated, phantom_zip):
    jobs = fill(gate, gated, phantom_zip)
    with ThreadPoolExecutor() as threads:
        events = threads.submit(lambda: gated.get(f"{jobs[3]}/events").text)
        wait_until(lambda: gated.get(jobs[3]).json()["state"] == "waiting")
        gated.delete(jobs[3])
        assert "event: interrupted" in events.result()
    gate.let.set()
    for job in jobs[:3]:
        finish(gated, job)


def test_a_failed_job_gives_its_problem(client):
    job = accept(client, b"no zip")
    assert finish(client, job)["problem"]["type"] == "urn:glioserve:problem:broken-archive"
    result = client.get(f"{job}/result")
    assert (result.status_code, result.headers["content-type"]) == (400, "application/problem+json")


def test_an_unfinished_job_has_no_result_yet(gate, gated, phantom_zip):
    job = accept(gated, phantom_zip)
    response = gated.get(f"{job}/result")
    assert response.status_code == 409
    assert response.json()["type"] == "urn:glioserve:problem:job-not-finished"
    assert int(response.headers["Retry-After"]) >= 1
    gate.let.set()
    finish(gated, job)


@pytest.mark.parametrize("path", ["", "/result", "/events"])
def test_an_unknown_job_is_404(client, path):
    response = client.get(f"/jobs/0123456789abcdef{path}")
    assert response.status_code == 404
    assert response.json()["type"] == "urn:glioserve:problem:job-not-found"


def test_a_form_that_the_result_does_not_have_is_406(client, phantom_zip):
    job = accept(client, phantom_zip)
    finish(client, job)
    assert client.get(f"{job}/result", headers={"Accept": "image/png"}).status_code == 406


def test_a_deleted_job_is_gone_with_its_files(client, phantom_zip):
    before = spooled(client)
    job = accept(client, phantom_zip)
    finish(client, job)
    wait_until(lambda: len(spooled(client)) == len(before) + 2)
    assert client.delete(job).status_code == 204
    assert client.get(job).status_code == client.delete(job).status_code == 404
    assert spooled(client) == before


def test_a_waiting_job_that_is_deleted_gives_its_place_to_the_next(gate, gated, phantom_zip):
    jobs = fill(gate, gated, phantom_zip)
    assert gated.delete(jobs[2]).status_code == 204
    assert gated.get(jobs[2]).status_code == 404
    assert gated.get(jobs[3]).json()["place"] == 1
    gate.let.set()
    assert [finish(gated, job)["state"] for job in (jobs[0], jobs[1], jobs[3])] == ["done"] * 3


def test_a_running_job_that_is_deleted_stops_at_the_end_of_its_slice_batch(gate, gated, phantom_zip):
    job = accept(gated, phantom_zip)
    assert gate.asked.wait(timeout=60)
    with ThreadPoolExecutor() as threads:
        deleted = threads.submit(gated.delete, job)
        gate.let.set()
        assert deleted.result().status_code == 204
    assert gate.batches == 1
    assert spooled(gated) == []


def test_a_repeated_key_is_the_same_job(client, phantom_zip, phantom_files, expected):
    key = {"Idempotency-Key": "study-1"}
    job = accept(client, phantom_zip, **key)
    assert accept(client, phantom_zip, **key) == job  # curl would take another boundary
    assert (
        client.post("/segment", content=phantom_zip, headers={"Content-Type": "application/zip"} | ASYNC | key).headers[
            "Location"
        ]
        == job
    )
    assert post(client, phantom_zip, **key, **MASK).content == expected
    parts = {ENDINGS[role_of(name)]: ("any name", data) for name, data in phantom_files.items()}
    assert client.post("/segment", files=parts, headers=key).status_code == 409  # the same case, sent otherwise


def test_a_key_that_came_with_another_case_is_409(client, phantom_zip):
    key = {"Idempotency-Key": "study-2"}
    job = accept(client, phantom_zip, **key)
    for response in (
        post(client, b"another", **key),
        client.post("/segment?enhancing_label=3", files={"file": phantom_zip}, headers=key),
    ):
        assert response.status_code == 409
        assert response.json()["type"] == "urn:glioserve:problem:key-reused"
    assert finish(client, job)["state"] == "done"


def test_two_requests_at_once_with_one_key_are_one_job(client, phantom_zip):
    with ThreadPoolExecutor() as threads:
        jobs = set(threads.map(lambda _: accept(client, phantom_zip, **{"Idempotency-Key": "study-3"}), range(4)))
    assert len(jobs) == 1
    assert finish(client, jobs.pop())["state"] == "done"


def test_a_key_that_no_header_may_hold_is_422(client, phantom_zip):
    assert "idempotency-key" in post(client, phantom_zip, **{"Idempotency-Key": "a b"}).json()["detail"]


def test_results_expire_and_their_bytes_are_gone(weights, phantom_zip, tmp_path):
    with ready_client(Settings(weights=weights, device="cpu", spool=tmp_path / "spool", keep_results_s=0.5)) as client:
        job = accept(client, phantom_zip, **{"Idempotency-Key": "again"})
        wait_until(lambda: client.get(job).status_code == 404)
        wait_until(lambda: spooled(client) == [])
        assert accept(client, phantom_zip, **{"Idempotency-Key": "again"}) != job
