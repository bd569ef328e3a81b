"""The HTTP server: TLS, security headers, CORS, idle and slow connections."""

import socket
import subprocess
from contextlib import suppress
from time import sleep

import httpx2
import pytest
from support.command_line import run_glioserve
from support.running_service import connect, free_port, serve_in_thread

from service.app import create_app
from service.settings import Settings
from service.web import server


@pytest.fixture
def settings(weights, tmp_path):
    return {"weights": weights, "device": "cpu", "spool": tmp_path / "spool"}


@pytest.fixture
def address(settings):
    """The address of a running service."""
    with serve_in_thread(create_app(Settings(**settings))) as address:
        yield address


def test_every_response_has_security_headers(address):
    for path in ("/livez", "/docs", "/nothing"):
        headers = httpx2.get(f"{address}{path}").headers
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "Server" not in headers
        assert "Access-Control-Allow-Origin" not in headers
        assert "Strict-Transport-Security" not in headers


def test_cors_is_allowed_for_configured_origins_only(settings):
    preflight = {"Origin": "https://viewer.example", "Access-Control-Request-Method": "POST"}
    with serve_in_thread(create_app(Settings(**settings, cors_origins="https://viewer.example"))) as address:
        allowed = httpx2.options(f"{address}/segment", headers=preflight)
        rejected = httpx2.options(f"{address}/segment", headers=preflight | {"Origin": "https://other.example"})
        assert allowed.headers["Access-Control-Allow-Origin"] == "https://viewer.example"
        assert "Access-Control-Allow-Origin" not in rejected.headers


def test_plain_http_is_rejected_if_tls_is_configured(settings, tls, trust):
    del tls["tls_client_ca"]
    with serve_in_thread(create_app(Settings(**settings, **tls)), trust) as address:
        assert "Strict-Transport-Security" in httpx2.get(f"{address}/livez", verify=trust).headers
        with pytest.raises(httpx2.TransportError):
            httpx2.get(address.replace("https", "http"))


def test_client_certificates_are_required_if_a_client_ca_is_configured(settings, tls, trust, client_certificate):
    with serve_in_thread(create_app(Settings(**settings, **tls)), client_certificate) as address:
        assert httpx2.get(f"{address}/livez", verify=client_certificate).status_code == 200
        with pytest.raises(httpx2.TransportError):
            httpx2.get(f"{address}/livez", verify=trust)


def test_unusable_tls_files_are_a_startup_error(settings, tls):
    tls["tls_key"].write_text("no key")
    settings["spool"].mkdir()
    result = run_glioserve("serve", **settings, **tls)
    assert result.returncode == 1
    assert result.stderr.startswith(
        "GLIOSERVE_TLS_CERTIFICATE, _KEY, _CLIENT_CA: expected matching, readable PEM files"
    )


def test_an_encrypted_tls_key_is_a_startup_error_without_a_prompt(settings, tls, tmp_path):
    del tls["tls_client_ca"]
    plain, tls["tls_key"] = tls["tls_key"], tmp_path / "encrypted"
    encrypt = ["openssl", "pkey", "-aes256", "-passout", "pass:secret", "-in", plain, "-out", tls["tls_key"]]
    subprocess.run(encrypt, check=True)
    result = run_glioserve("serve", **settings, **tls)
    assert result.returncode == 1
    assert "the key without a passphrase" in result.stderr


def test_a_missing_keys_file_is_a_startup_error(settings):
    result = run_glioserve("serve", **settings, port=free_port(), keys_file=settings["spool"] / "keys")
    assert result.returncode == 1
    assert "GLIOSERVE_KEYS_FILE: expected a file created by `glioserve keys add`" in result.stderr


def test_a_client_that_does_not_read_its_responses_is_disconnected(address, monkeypatch):
    monkeypatch.setattr(server, "CLIENT_TIMEOUT_S", 0.5)
    path, times = "/docs/swagger-ui-bundle.js", 12
    total = times * len(httpx2.get(address + path).content)
    with connect(address) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() * times)
        sleep(2)
        connection.settimeout(10)
        assert count_received(connection) < total


def count_received(connection: socket.socket) -> int:
    """Count the bytes that arrive until the server closes the connection."""
    count = 0
    with suppress(ConnectionResetError):
        while data := connection.recv(2**20):
            count += len(data)
    return count


def test_a_connection_in_regular_use_is_kept_open(address, monkeypatch):
    monkeypatch.setattr(server, "CLIENT_TIMEOUT_S", 0.5)
    with httpx2.Client(base_url=address) as client:
        for _ in range(20):
            assert client.get("/livez").status_code == 200
            sleep(0.1)


@pytest.mark.parametrize("sent", [b"", b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: "])
def test_a_connection_without_a_complete_request_is_closed(address, sent, monkeypatch):
    monkeypatch.setattr(server, "CLIENT_TIMEOUT_S", 0.5)
    with connect(address) as connection:
        connection.sendall(sent)
        connection.settimeout(10)
        assert connection.recv(1) == b""
    assert httpx2.get(f"{address}/livez").status_code == 200


def test_a_connection_is_kept_open_while_its_request_is_processed(address, phantom_zip, monkeypatch):
    monkeypatch.setattr(server, "CLIENT_TIMEOUT_S", 0.05)
    assert httpx2.post(f"{address}/segment", files={"file": phantom_zip}, timeout=60).status_code == 200


def test_uvloop_is_not_used_even_if_it_is_installed():
    assert server.Server(create_app(Settings())).config.loop == "asyncio"


INVALID_CHUNKED_REQUEST = (
    b"POST /segment HTTP/1.1\r\nHost: [::1]\r\nContent-Encoding: br\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n"
)


@pytest.mark.parametrize("early", [False, True], ids=["with the headers", "after an early response"])
def test_an_invalid_chunked_body_is_answered_once_and_without_a_traceback(early, address, caplog):
    split = INVALID_CHUNKED_REQUEST.index(b"-1") if early else len(INVALID_CHUNKED_REQUEST)
    with connect(address) as connection:
        connection.settimeout(10)
        connection.sendall(INVALID_CHUNKED_REQUEST[:split])
        response = connection.recv(10000) if early else b""
        connection.sendall(INVALID_CHUNKED_REQUEST[split:])
        while piece := connection.recv(10000):
            response += piece
    assert response.startswith(b"HTTP/1.1 415" if early else b"HTTP/1.1 400")
    assert response.count(b"HTTP/1.1") == 1
    assert [record for record in caplog.records if record.exc_info] == []
