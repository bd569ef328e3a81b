"""The server around the app: TLS, headers, connections that say nothing."""

from support.running_service import serve_in_thread, free_port
import socket
import ssl
import subprocess
from contextlib import suppress
from time import sleep

import httpx2
import pytest

from service import server
from service.app import create_app
from service.settings import Settings


@pytest.fixture
def settings(weights, tmp_path):
    return {"weights": weights, "device": "cpu", "spool": tmp_path / "spool"}


@pytest.fixture
def served(settings):
    with serve_in_thread(create_app(Settings(**settings))) as address:
        yield address


def connect(address: str) -> socket.socket:
    """A connection on which nothing was said."""
    return socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])))


def test_every_response_has_security_headers(served):
    for path in ("/livez", "/docs", "/nothing"):
        headers = httpx2.get(f"{served}{path}").headers
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "Server" not in headers
        assert "Access-Control-Allow-Origin" not in headers
        assert "Strict-Transport-Security" not in headers


def test_cors_is_allowed_for_configured_origins_only(settings):
    asking = {"Origin": "https://viewer.example", "Access-Control-Request-Method": "POST"}
    with serve_in_thread(create_app(Settings(**settings, cors_origins="https://viewer.example"))) as address:
        allowed = httpx2.options(f"{address}/segment", headers=asking)
        refused = httpx2.options(f"{address}/segment", headers=asking | {"Origin": "https://other.example"})
        assert allowed.headers["Access-Control-Allow-Origin"] == "https://viewer.example"
        assert "Access-Control-Allow-Origin" not in refused.headers


def test_plain_http_is_rejected_if_tls_is_configured(settings, tls, trust):
    del tls["tls_client_ca"]
    with serve_in_thread(create_app(Settings(**settings, **tls)), trust) as address:
        assert "Strict-Transport-Security" in httpx2.get(f"{address}/livez", verify=trust).headers
        with pytest.raises(httpx2.TransportError):
            httpx2.get(address.replace("https", "http"))


def test_client_certificates_are_required_if_a_client_ca_is_configured(settings, tls, trust, authority):
    known = ssl.create_default_context()
    authority.configure_trust(known)
    authority.issue_cert("ward@hospital.example").configure_cert(known)
    with serve_in_thread(create_app(Settings(**settings, **tls)), known) as address:
        assert httpx2.get(f"{address}/livez", verify=known).status_code == 200
        with pytest.raises(httpx2.TransportError):
            httpx2.get(f"{address}/livez", verify=trust)


def test_unusable_tls_files_are_a_startup_error(settings, tls):
    tls["tls_key"].write_text("no key")
    settings["spool"].mkdir()
    ended = serve(**settings, **tls)
    assert ended.returncode == 1
    assert ended.stderr.startswith("GLIOSERVE_TLS_CERTIFICATE, _KEY, _CLIENT_CA: expected readable PEM files")


def test_an_encrypted_tls_key_is_a_startup_error_without_a_prompt(settings, tls, tmp_path):
    del tls["tls_client_ca"]
    plain, tls["tls_key"] = tls["tls_key"], tmp_path / "closed"
    encrypt = ["openssl", "pkey", "-aes256", "-passout", "pass:secret", "-in", plain, "-out", tls["tls_key"]]
    subprocess.run(encrypt, check=True)
    ended = serve(**settings, **tls)
    assert ended.returncode == 1
    assert "the key without a pass phrase" in ended.stderr


def test_a_missing_keys_file_is_a_startup_error(settings):
    ended = serve(**settings, port=free_port(), keys=settings["spool"] / "keys")
    assert ended.returncode == 1
    assert "GLIOSERVE_KEYS: expected a file that `glioserve keys add` made" in ended.stderr


def test_a_client_that_does_not_read_its_responses_is_disconnected(served, monkeypatch):
    monkeypatch.setattr(server, "CLIENT_S", 0.5)
    path, times = "/docs/swagger-ui-bundle.js", 12
    whole = times * len(httpx2.get(served + path).content)
    with connect(served) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() * times)
        sleep(2)
        connection.settimeout(10)
        assert received(connection) < whole


def received(connection: socket.socket) -> int:
    """How many bytes come until the other side ends the connection."""
    count = 0
    with suppress(ConnectionResetError):
        while data := connection.recv(2**20):
            count += len(data)
    return count


def test_a_connection_in_regular_use_is_kept_open(served, monkeypatch):
    monkeypatch.setattr(server, "CLIENT_S", 0.5)
    with httpx2.Client(base_url=served) as client:
        for _ in range(20):
            assert client.get("/livez").status_code == 200
            sleep(0.1)


@pytest.mark.parametrize("said", [b"", b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: "])
def test_a_connection_without_a_complete_request_is_closed(served, said, monkeypatch):
    monkeypatch.setattr(server, "CLIENT_S", 0.5)
    with connect(served) as connection:
        connection.sendall(said)
        connection.settimeout(10)
        assert connection.recv(1) == b""
    assert httpx2.get(f"{served}/livez").status_code == 200


def test_a_connection_is_kept_open_while_its_request_is_processed(served, phantom_zip, monkeypatch):
    monkeypatch.setattr(server, "CLIENT_S", 0.05)
    assert httpx2.post(f"{served}/segment", files={"file": phantom_zip}, timeout=60).status_code == 200


BROKEN_BODY = (
    b"POST /segment HTTP/1.1\r\nHost: [::1]\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n"
)


@pytest.mark.parametrize("early", [False, True], ids=["with its head", "behind an early answer"])
def test_an_invalid_chunked_body_is_answered_once_and_without_a_traceback(early, served, caplog):
    split = BROKEN_BODY.index(b"-1") if early else len(BROKEN_BODY)
    with connect(served) as connection:
        connection.settimeout(10)
        connection.sendall(BROKEN_BODY[:split])
        answer = connection.recv(10000) if early else b""
        connection.sendall(BROKEN_BODY[split:])
        while piece := connection.recv(10000):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 415" if early else b"HTTP/1.1 400")
    assert answer.count(b"HTTP/1.1") == 1
    assert [record for record in caplog.records if record.exc_info] == []
