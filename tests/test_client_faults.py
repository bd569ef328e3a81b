"""The Python client when something goes wrong: refusals, broken connections, restarts, other servers."""

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from time import monotonic

import httpx2
import pytest
from support.api import submit_case
from support.client_runs import MASK, Reports, plain_answer, serve_gated
from support.running_service import free_port, serve_in_process, serve_in_thread, wait_until

from glioserve_client import Client, ConnectionFailedError, Options, ProblemError, State, UnexpectedAnswerError
from service.app import create_app
from service.security.keys import KeyFile, Scope
from service.settings import Settings

SEGMENTING = State.WAITING, State.RUNNING


@pytest.fixture
def threads():
    with ThreadPoolExecutor() as threads:
        yield threads


@pytest.fixture
def gated_address(gate, model, settings):
    """The address of a service with the gated network and a queue of one case."""
    with serve_gated(gate, model, settings.model_copy(update={"queue_size": 1})) as address:
        yield address


def fill_queue_of(address, body):
    """Submit three jobs: one that waits at the gate, one that is decoded, and one that fills the queue."""
    with httpx2.Client(base_url=address) as http:
        for running in (1, 2, 2):
            submit_case(http, body)
            wait_until(lambda running=running: f"glioserve_running {running}" in http.get("/metrics").text)


@contextmanager
def other_server(status, media_type, body=b""):
    """The address of a web server that is not GlioServe."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            """Log nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_missing_modality_is_a_problem_in_the_words_of_the_service(address, phantom_files, tmp_path):
    (tmp_path / "phantom").mkdir()
    for name, data in phantom_files.items():
        if "flair" not in name:
            (tmp_path / name).write_bytes(data)
    with pytest.raises(ProblemError) as raised:
        Client(address).segment(tmp_path)
    problem = raised.value
    assert (problem.status, problem.kind) == (422, "modalities")
    assert problem.type == "urn:glioserve:problem:modalities"
    assert problem.detail.startswith("FLAIR: missing; found T1, T1Gd, T2, ground truth.")
    assert str(problem) == f"{problem.title} (422): {problem.detail}"


def test_a_wrong_key_is_a_problem_and_no_key_is_ever_shown(weights, case, tmp_path):
    keys = KeyFile(tmp_path / "keys")
    key = keys.add("ward", [Scope.SEGMENT])
    with serve_in_thread(create_app(Settings(weights=weights, spool=tmp_path / "s", keys_file=keys.path))) as address:
        assert Client(address, key).segment(case).volumes_ml["WT"] > 0
        for wrong in (None, key[:-1] + "x"):
            with pytest.raises(ProblemError) as raised:
                Client(address, wrong).segment(case)
            assert (raised.value.status, raised.value.kind) == (401, "unauthenticated")
            assert key[:-1] not in repr(raised.value) + repr(vars(vars(Client(address, key))["_client"]))


def test_a_full_queue_is_waited_for(gate, gated_address, case, phantom_zip, threads):
    fill_queue_of(gated_address, phantom_zip)
    reports = Reports()
    running = threads.submit(Client(gated_address).segment, case, progress=reports.append)
    assert reports.wait_for(State.RETRYING).reason.startswith("Queue full (429): The queue is full")
    gate.open()
    assert running.result(timeout=60).volumes_ml["WT"] > 0


def test_a_service_that_stays_full_is_a_problem_after_a_while(gate, gated_address, case, phantom_zip):
    fill_queue_of(gated_address, phantom_zip)
    with pytest.raises(ProblemError) as raised:
        Client(gated_address, give_up_after_s=0).segment(case)
    assert raised.value.kind == "queue-full"
    assert raised.value.retry_after_s >= 1
    gate.open()


def test_a_job_survives_the_death_of_the_service_and_is_done_once(weights, case, tmp_path, threads):
    settings = {"weights": weights, "port": free_port(), "precision": "float32", "max_attempts": 9}
    reports = Reports()
    with serve_in_process(tmp_path / "service", **settings) as service:
        running = threads.submit(Client(service.address).segment, case, progress=reports.append)
        wait_until(lambda: any(progress.state in SEGMENTING for progress in reports))
        service.process.send_signal(signal.SIGKILL)
        service.process.wait()
        reports.wait_for(State.RETRYING)
    with serve_in_process(tmp_path / "service", **settings) as service:
        result = running.result(timeout=60)
        assert result.files[MASK] == plain_answer(service.address, case.read_bytes())[MASK]
        assert len(list((tmp_path / "service" / "spool").glob(f"*/{MASK}"))) == 1
        again = Client(service.address).segment(case)
    assert again.job_id == result.job_id == reports.wait_for(SEGMENTING[0]).job_id


def test_a_service_that_starts_later_is_waited_for(weights, case, tmp_path, threads):
    port = free_port()
    reports = Reports()
    running = threads.submit(Client(f"http://127.0.0.1:{port}").segment, case, progress=reports.append)
    assert reports.wait_for(State.RETRYING).reason.startswith("Service: expected an answer, found none: ")
    with serve_in_process(tmp_path / "service", weights=weights, port=port):
        assert running.result(timeout=60).volumes_ml["WT"] > 0


def test_a_service_that_is_not_there_is_an_error_after_a_while(case):
    started = monotonic()
    with pytest.raises(ConnectionFailedError, match=r"Service: expected an answer, found none: .*\.$"):
        Client(f"http://127.0.0.1:{free_port()}", give_up_after_s=1).segment(case)
    assert monotonic() - started < 3


def test_a_job_that_the_service_has_lost_is_sent_again(gate, gated_address, case, threads):
    reports = Reports()
    running = threads.submit(Client(gated_address).segment, case, progress=reports.append)
    gate.wait_for_forward_pass()
    lost = reports.wait_for(State.RUNNING).job_id
    deleted = threads.submit(httpx2.delete, f"{gated_address}/jobs/{lost}", timeout=60)
    gate.open()
    assert deleted.result().status_code == 204
    assert running.result(timeout=60).job_id != lost


def test_a_case_that_failed_because_of_the_service_can_be_sent_again(gate, gated_address, case, settings, threads):
    client, reports = Client(gated_address), Reports()
    first = threads.submit(client.segment, case, Options(enhancing_label=3))
    gate.wait_for_forward_pass()
    second = threads.submit(client.segment, case, Options(trust_names=True))
    wait_until(lambda: "glioserve_running 2" in httpx2.get(f"{gated_address}/metrics").text)
    third = threads.submit(client.segment, case, progress=reports.append)
    job = reports.wait_for(State.WAITING).job_id
    (settings.spool / job / "file").unlink()
    gate.open()
    with pytest.raises(ProblemError) as raised:
        third.result(timeout=60)
    assert raised.value.kind == "lost-file"
    assert client.segment(case).job_id != job
    assert first.result().volumes_ml == second.result().volumes_ml


def test_a_certificate_that_is_not_trusted_is_an_error_at_once(settings, tls, trust, case):
    server_tls = {name: path for name, path in tls.items() if name != "tls_client_ca"}
    app = create_app(settings.model_copy(update=server_tls))
    with serve_in_thread(app, trust) as address:
        with pytest.raises(ConnectionFailedError, match="certificate verify failed"):
            Client(address).segment(case)
        assert Client(address, tls=trust).segment(case).volumes_ml["WT"] > 0


def test_another_server_is_recognised(case):
    with other_server(404, "text/html") as address, pytest.raises(ProblemError) as raised:
        Client(address).segment(case)
    assert str(raised.value) == "Not Found (404): Service: expected a problem of GlioServe, found text/html."
    with other_server(200, "text/html", b"<html>") as address, pytest.raises(UnexpectedAnswerError) as unexpected:
        Client(address).segment(case)
    assert str(unexpected.value) == "Service: expected the status of a job, found text/html."


def test_an_interrupted_call_ends_at_once(gate, gated_address, case):
    code = (
        f"from glioserve_client import Client\nwith Client({gated_address!r}) as client: client.segment({str(case)!r})"
    )
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) as process:
        gate.wait_for_forward_pass()
        process.send_signal(signal.SIGINT)
        assert process.stderr.read().endswith("KeyboardInterrupt\n")
    gate.open()
