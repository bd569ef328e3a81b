"""Paths, methods, repeated headers and parameters, the probes and /models."""

import json

import pytest
from support.api import read_problem
from support.running_service import connect


def test_unknown_paths_and_methods_are_answered_with_problems(client):
    for response, status in ((client.get("/nothing"), 404), (client.get("/segment"), 405)):
        assert response.status_code == status
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["type"] == "about:blank"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("GET", "/segment", "POST"), ("PUT", "/jobs/x", "DELETE, GET, HEAD"), ("POST", "/metrics", "GET, HEAD")],
)
def test_a_405_response_lists_the_allowed_methods(method, path, allowed, client):
    response = client.request(method, path)
    assert (response.status_code, response.headers["Allow"]) == (405, allowed)


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/models", "/metrics", "/openapi.json"])
def test_get_routes_support_head(path, client):
    assert client.head(path).status_code == 200


@pytest.mark.parametrize("path", ["/segment/", "http://testserver/segment"], ids=["slash", "absolute form"])
def test_other_forms_of_a_path_are_accepted_without_a_redirect(path, address, phantom_zip):
    with connect(address) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: LocalHost.\r\nContent-Length: {len(phantom_zip)}\r\n\r\n"
        connection.sendall(head.encode() + phantom_zip)
        assert connection.recv(12) == b"HTTP/1.1 200"


def test_options_lists_the_allowed_methods(client):
    response = client.options("/segment")
    assert (response.status_code, response.headers["Allow"], response.content) == (204, "POST", b"")


def test_malformed_http_is_a_problem(address):
    with connect(address) as connection:
        connection.sendall(b"Good morning\r\n\r\n")
        response = b""
        while piece := connection.recv(10_000):
            response += piece
    head, _, body = response.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head
    assert json.loads(body)["status"] == 400


@pytest.mark.parametrize(
    "repeated",
    [
        {"params": [("enhancing_label", "3"), ("enhancing_label", "4")]},
        {"headers": [("Idempotency-Key", "one"), ("Idempotency-Key", "other")]},
    ],
)
def test_a_repeated_parameter_is_422(repeated, client, phantom_zip):
    response = client.post("/segment", files={"file": phantom_zip}, **repeated)
    assert "expected once, found 2 times" in read_problem(response, 422, "invalid-parameter")


def test_several_accept_headers_are_combined(client, phantom_zip):
    headers = [("Accept", "text/html"), ("Accept", "application/json")]
    response = client.post("/segment", files={"file": phantom_zip}, headers=headers)
    assert response.headers["Content-Type"] == "application/json"


def test_the_probes_report_alive_and_ready(client):
    assert client.get("/livez").json() == {"status": "alive"}
    assert client.get("/readyz").json() == {"status": "ready"}


def test_the_models_route_returns_the_model_cards(client):
    cards = client.get("/models").json()
    assert sorted(region for card in cards for region in card["regions"]) == ["ET", "TC", "WT"]
    assert all(card["intended_use"] == "tests" for card in cards)
