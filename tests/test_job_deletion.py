"""Deletion and expiry of jobs, and the files that remain on the spool."""

from concurrent.futures import ThreadPoolExecutor
from time import sleep

from support.api import SECONDS_TO_SEND, fill_queue, list_job_files, post_case, submit_case, wait_for_job
from support.running_service import ready_client, wait_until

from service.settings import Settings


def test_a_finished_job_keeps_its_result_and_deletes_its_case(client, phantom_zip):
    job = submit_case(client, phantom_zip)
    wait_for_job(client, job)
    assert "segmentation.nii.gz" in list_job_files(client)
    wait_until(lambda: "file" not in list_job_files(client))
    assert client.delete(job).status_code == 204


def test_a_synchronous_request_leaves_nothing_on_disk(client, phantom_zip):
    before = list_job_files(client)
    assert post_case(client, phantom_zip).status_code == 200
    wait_until(lambda: list_job_files(client) == before)


def test_deleting_a_job_removes_its_files(client, phantom_zip):
    before = list_job_files(client)
    job = submit_case(client, phantom_zip)
    wait_for_job(client, job)
    wait_until(lambda: len(list_job_files(client)) == len(before) + 2)
    assert client.delete(job).status_code == 204
    assert client.get(job).status_code == client.delete(job).status_code == 404
    assert list_job_files(client) == before


def test_deleting_a_waiting_job_moves_the_next_one_up(gate, gated_client, phantom_zip):
    jobs = fill_queue(gate, gated_client, phantom_zip)
    assert gated_client.delete(jobs[2]).status_code == 204
    assert gated_client.get(jobs[2]).status_code == 404
    assert gated_client.get(jobs[3]).json()["queue_position"] == 1
    gate.open()
    assert [wait_for_job(gated_client, job)["state"] for job in (jobs[0], jobs[1], jobs[3])] == ["done"] * 3


def test_deleting_a_running_job_stops_it_after_its_slice_batch(gate, gated_client, phantom_zip):
    job = submit_case(gated_client, phantom_zip)
    gate.wait_for_forward_pass()
    with ThreadPoolExecutor() as threads:
        deleted = threads.submit(gated_client.delete, job)
        sleep(SECONDS_TO_SEND)
        assert not deleted.done()
        gate.open()
        assert deleted.result().status_code == 204
    assert gate.forward_passes == 1
    assert list_job_files(gated_client) == []


def test_the_event_stream_of_a_deleted_job_ends_with_interrupted(gate, gated_client, phantom_zip):
    jobs = fill_queue(gate, gated_client, phantom_zip)
    with ThreadPoolExecutor() as threads:
        events = threads.submit(lambda: gated_client.get(f"{jobs[3]}/events").text)
        sleep(SECONDS_TO_SEND)
        gated_client.delete(jobs[3])
        assert "event: interrupted" in events.result()
    gate.open()
    for job in jobs[:3]:
        wait_for_job(gated_client, job)


def test_expired_results_are_deleted(weights, phantom_zip, tmp_path):
    with ready_client(
        Settings(weights=weights, device="cpu", spool=tmp_path / "spool", result_retention_s=0.5)
    ) as client:
        job = submit_case(client, phantom_zip, **{"Idempotency-Key": "again"})
        wait_until(lambda: client.get(job).status_code == 404)
        wait_until(lambda: list_job_files(client) == [])
        assert submit_case(client, phantom_zip, **{"Idempotency-Key": "again"}) != job
