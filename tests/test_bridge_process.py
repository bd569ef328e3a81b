"""`glioserve bridge` as a process: start, health, stop, and settings that cannot work."""

import signal
import socket
import subprocess

import httpx2
import pytest
from support.command_line import GLIOSERVE, environment_with, run_glioserve
from support.running_bridge import NO_ARCHIVE
from support.running_service import free_port, wait_until


@pytest.fixture
def settings(tmp_path):
    ports = {"bridge_port": free_port(), "bridge_monitoring_port": free_port()}
    return ports | {"bridge_send_to": NO_ARCHIVE, "bridge_folder": tmp_path / "bridge"}


def test_it_reports_its_health_and_metrics_and_stops_on_sigterm(settings, tmp_path):
    address = f"http://127.0.0.1:{settings['bridge_monitoring_port']}"
    log = tmp_path / "log"
    with (
        log.open("w") as out,
        subprocess.Popen([GLIOSERVE, "bridge"], env=environment_with(**settings), stdout=out, stderr=out) as process,
    ):
        wait_until(lambda: run_glioserve("health", "--bridge", **settings).returncode == 0)
        assert httpx2.get(f"{address}/livez").json() == {"status": "alive"}
        assert "glioserve_bridge_folder_bytes" in httpx2.get(f"{address}/metrics").text
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
    assert '"event": "stopped"' in log.read_text()
    assert "expected it alive" in run_glioserve("health", "--bridge", **settings).stderr


def test_an_address_in_use_is_named_without_a_traceback(settings):
    for name in ("bridge_port", "bridge_monitoring_port"):
        with socket.create_server(("127.0.0.1", settings[name])):
            done = run_glioserve("bridge", **settings)
        assert done.returncode == 1
        assert "expected a free address" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "changes",
    [{"bridge_send_to": ""}, {"bridge_api_key_file": "/missing"}, {"bridge_folder": "/proc/bridge"}],
    ids=["no archive", "missing file", "unusable folder"],
)
def test_settings_that_cannot_work_are_named_without_a_traceback(settings, changes):
    done = run_glioserve("bridge", **(settings | changes))
    assert done.returncode == 1
    assert "expected" in done.stderr or "GLIOSERVE_BRIDGE_SEND_TO: Field required" in done.stderr
    assert "Traceback" not in done.stderr
