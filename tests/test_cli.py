"""The command line, run as a user runs it."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest
from known_networks import save_model

from service.archive import read_zip
from service.segmentation.case import read_case

GLIOSERVE = Path(sys.executable).with_name("glioserve")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def server(model, tmp_path):
    """`glioserve serve` with the known networks: its address and the file that it logs to."""
    port = free_port()
    weights = save_model(tmp_path / "weights", model)
    environment = os.environ | {"GLIOSERVE_PORT": str(port), "GLIOSERVE_WEIGHTS": str(weights)}
    log = tmp_path / "log"
    with (
        log.open("w") as out,
        subprocess.Popen([GLIOSERVE, "serve"], env=environment, stdout=out, stderr=out) as process,
    ):
        address = f"http://127.0.0.1:{port}"
        wait_until_ready(address, process)
        yield address, log
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


def wait_until_ready(address, process):
    for _ in range(300):
        try:
            if httpx2.get(f"{address}/readyz").status_code == 200:
                return
        except httpx2.TransportError:
            assert process.poll() is None, "the server ended before it was ready"
            time.sleep(0.2)
    pytest.fail("the server was not ready within a minute")


def test_the_server_prints_the_line_to_try_and_answers_it(server, phantom_zip):
    address, log = server
    response = httpx2.post(f"{address}/segment", files={"file": ("secret-name.zip", phantom_zip)}, timeout=60)
    assert response.status_code == 200
    assert f"curl -sS --fail-with-body -F file=@case.zip -o result.zip {address}/segment" in log.read_text()
    assert "secret-name" not in log.read_text()
    assert "phantom" not in log.read_text()


@pytest.mark.parametrize("media_type", ["application/zip", "multipart/form-data; boundary=x"])
def test_a_client_that_hangs_up_while_sending_is_no_failure(server, media_type):
    address, log = server
    with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))) as connection:
        head = f"POST /segment HTTP/1.1\r\nHost: x\r\nContent-Type: {media_type}\r\nContent-Length: 1000\r\n\r\n--x"
        connection.sendall(head.encode())
    assert httpx2.get(f"{address}/livez").status_code == 200
    assert "Traceback" not in log.read_text()


def test_a_setting_that_means_nothing_stops_the_service_by_name():
    environment = os.environ | {"GLIOSERVE_PROT": "9"}
    ended = subprocess.run([GLIOSERVE, "serve"], env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("GLIOSERVE_PROT:")


def test_weights_that_cannot_be_used_stop_the_service_in_one_line(tmp_path):
    environment = os.environ | {"GLIOSERVE_WEIGHTS": str(tmp_path), "GLIOSERVE_PORT": str(free_port())}
    ended = subprocess.run([GLIOSERVE, "serve"], env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr == "Weights: expected each of WT, TC, ET once, found no card.\n"


def test_a_precision_that_the_weights_lack_stops_the_service_in_one_line(model, tmp_path):
    weights = save_model(tmp_path, model)
    environment = os.environ | {"GLIOSERVE_WEIGHTS": str(weights), "GLIOSERVE_PRECISION": "int8"}
    ended = subprocess.run([GLIOSERVE, "serve"], env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr == "wt: expected weights quantised to int8, found none.\n"


def test_the_phantom_is_a_case_with_ground_truth(tmp_path):
    subprocess.run([GLIOSERVE, "phantom", tmp_path / "case.zip"], check=True, capture_output=True)
    with (tmp_path / "case.zip").open("rb") as file:
        case = read_case(read_zip(file, max_unpacked_mib=128))
    assert case.ground_truth is not None
    assert case.grid.shape == (240, 240, 155)
