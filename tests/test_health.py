"""`glioserve health`: with and without a running service, with and without TLS."""

import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from support.running_service import free_port, port_of, serve_in_thread

from service.app import create_app
from service.command_line.health import check_health
from service.errors import HealthError
from service.settings import Settings


@pytest.fixture
def settings(weights, tmp_path):
    return {"weights": weights, "device": "cpu", "spool": tmp_path / "spool", "allow_unauthenticated": True}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_a_running_service_is_healthy(host, settings):
    with serve_in_thread(create_app(Settings(**settings))) as address:
        check_health(Settings(host=host, port=port_of(address), allow_unauthenticated=True))


def test_the_host_name_of_the_certificate_is_not_checked(settings, tls, trust):
    del tls["tls_client_ca"]
    with serve_in_thread(create_app(Settings(**settings, **tls)), trust) as address:
        check_health(Settings(host="localhost", port=port_of(address), **tls))
        with pytest.raises(HealthError):
            check_health(Settings(port=port_of(address)))  # over plain HTTP


def test_a_service_that_requires_client_certificates_is_healthy(settings, tls, client_certificate):
    with serve_in_thread(create_app(Settings(**settings, **tls)), client_certificate) as address:
        check_health(Settings(port=port_of(address), **tls))


def test_a_port_without_a_service_is_not_healthy():
    port = free_port()
    with pytest.raises(HealthError, match=f"alive at 127.0.0.1 port {port}, found .*refused"):
        check_health(Settings(port=port))


def test_an_error_status_is_not_healthy():
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)  # answers 501 to everything
    thread = Thread(target=server.handle_request)
    thread.start()
    with pytest.raises(HealthError, match="found status 501"):
        check_health(Settings(port=server.server_port))
    thread.join()
    server.server_close()


def test_the_health_check_imports_neither_torch_nor_the_web_stack():
    imports = "import sys, service.command_line.cli, service.command_line.health"
    script = f"{imports}; print({{'torch', 'numpy', 'fastapi', 'uvicorn'}} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout == "set()\n"
