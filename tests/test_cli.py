"""The `serve` and `phantom` subcommands, run as a user runs them."""

import socket
import subprocess

import httpx2
import pytest
from support.case_files import MODALITY_NAMES
from support.command_line import GLIOSERVE, run_glioserve
from support.running_service import connect, free_port, serve_in_process, wait_until

from service.imaging.reading import read_case_from
from service.intake.archive import open_zip


@pytest.fixture
def server(weights, tmp_path):
    """`glioserve serve` with the known networks."""
    with serve_in_process(tmp_path, weights=weights) as server:
        yield server


def test_the_log_shows_a_curl_command_for_a_first_request(server, phantom_zip):
    response = httpx2.post(f"{server.address}/segment", files={"file": ("secret-name.zip", phantom_zip)}, timeout=60)
    assert response.status_code == 200
    log = server.log.read_text()
    assert f"curl -sS --fail-with-body -F file=@case.zip -o result.zip {server.address}/segment" in log
    assert "secret-name" not in log
    assert "phantom" not in log


def test_messages_of_libraries_about_a_damaged_upload_are_not_logged(server):
    files = {name: (f"{name}.nii", b"not a header" * 100) for name in MODALITY_NAMES}
    assert httpx2.post(f"{server.address}/segment", files=files).status_code == 400
    headers = {"Content-Type": "multipart/form-data; boundary=YY"}
    assert httpx2.post(f"{server.address}/segment", content=b"--XX secret", headers=headers).status_code == 400
    lines = server.log.read_text().splitlines()
    assert [line for line in lines if not line.startswith(("{", "INFO:"))] == []


@pytest.mark.parametrize("media_type", ["application/zip", "multipart/form-data; boundary=x"])
def test_a_client_that_disconnects_while_sending_causes_no_error(server, media_type):
    with connect(server.address) as connection:
        head = f"POST /segment HTTP/1.1\r\nHost: [::1]\r\nContent-Type: {media_type}\r\nContent-Length: 1000\r\n\r\n--x"
        connection.sendall(head.encode())
    wait_until(lambda: '"status": 499' in server.log.read_text())
    assert httpx2.get(f"{server.address}/livez").status_code == 200
    assert "Traceback" not in server.log.read_text()


def test_an_unknown_setting_is_a_startup_error():
    result = run_glioserve("serve", prot=9)
    assert result.returncode == 1
    assert result.stderr == "GLIOSERVE_PROT: unknown setting; `glioserve serve --help` lists all\n"


def test_unusable_weights_are_a_startup_error(tmp_path):
    result = run_glioserve("serve", weights=tmp_path, port=free_port(), spool=tmp_path / "spool")
    assert result.returncode == 1
    assert result.stderr.endswith("\nWeights: expected each of WT, TC, ET once, found no model card.\n")
    assert "Traceback" not in result.stderr


def test_a_precision_without_weights_is_a_startup_error(weights, tmp_path):
    result = run_glioserve("serve", weights=weights, port=free_port(), spool=tmp_path / "spool", precision="int8")
    assert result.returncode == 1
    assert result.stderr.endswith("\nwt: expected weights quantised to int8, found none.\n")


def test_a_port_in_use_is_a_startup_error_before_the_weights_are_loaded(weights, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run_glioserve("serve", weights=weights, port=port, spool=tmp_path / "spool")
    assert result.returncode == 1
    expected = f"expected a free address of this machine, found 127.0.0.1 port {port}: Address already in use"
    assert result.stderr.startswith(f"GLIOSERVE_HOST, GLIOSERVE_PORT: {expected}")
    assert "Ready" not in result.stderr


@pytest.mark.usefixtures("server")
def test_a_second_service_on_the_same_spool_does_not_start(weights, tmp_path):
    result = run_glioserve("serve", weights=weights, port=free_port(), spool=tmp_path / "spool")
    assert result.returncode == 1
    assert (
        "GLIOSERVE_SPOOL: expected a folder that only this process uses, found another service using" in result.stderr
    )


def test_a_spool_that_is_a_file_is_a_startup_error(weights, tmp_path):
    (tmp_path / "file").touch()
    result = run_glioserve("serve", weights=weights, port=free_port(), spool=tmp_path / "file")
    assert result.returncode == 1
    assert "GLIOSERVE_SPOOL: expected a writable folder that this user owns, found" in result.stderr


def test_the_phantom_subcommand_writes_a_case_with_ground_truth(tmp_path):
    assert run_glioserve("phantom", tmp_path / "case.zip").returncode == 0
    piped = subprocess.run([GLIOSERVE, "phantom", "-"], check=True, capture_output=True).stdout  # later than the file
    assert piped == (tmp_path / "case.zip").read_bytes()
    with (tmp_path / "case.zip").open("rb") as file, open_zip(file, max_unpacked_mib=128) as files:
        case = read_case_from(files)
    assert case.ground_truth is not None
    assert case.grid.shape == (240, 240, 155)
