"""Paths, methods, repeated headers and parameters, the probes and /models."""

import pytest
from support.api import read_problem


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


def test_a_trailing_slash_is_404(client, phantom_zip):
    assert client.post("/segment/", files={"file": phantom_zip}, follow_redirects=False).status_code == 404


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
