"""How the service starts, and how it behaves while it computes."""

import json
from pathlib import Path
from threading import Thread

from fastapi.testclient import TestClient
from serving import LOOPBACK

from service.app import create_app
from service.settings import Settings

DOCUMENT = Path(__file__).parents[1] / "openapi" / "openapi.json"


def post_in_background(client, body, answers):
    request = Thread(target=lambda: answers.append(client.post("/segment", files={"file": body}).status_code))
    request.start()
    return request


def test_the_service_answers_others_while_it_computes(gate, gated, phantom_zip):
    answers = []
    request = post_in_background(gated, phantom_zip, answers)
    assert gate.asked.wait(timeout=60)
    assert gated.get("/livez").status_code == 200
    assert answers == []
    gate.let.set()
    request.join(timeout=60)
    assert answers == [200]


def test_cases_take_turns(gate, gated, phantom_zip):
    gate.let.set()
    answers = []
    for request in [post_in_background(gated, phantom_zip, answers) for _ in range(2)]:
        request.join(timeout=60)
    assert answers == [200] * 2
    assert gate.most_inside == 1


def test_before_the_weights_are_loaded_the_service_is_alive_but_not_ready(phantom_zip):
    client = TestClient(create_app(Settings(device="cpu")), LOOPBACK)  # not entered, so not started
    assert client.get("/livez").status_code == 200
    for response in (client.get("/readyz"), client.post("/segment", files={"file": phantom_zip})):
        assert response.status_code == 503
        assert response.json()["type"] == "urn:glioserve:problem:not-ready"


def test_a_failure_of_our_own_is_a_problem_without_details(gate, gated, phantom_zip, monkeypatch):
    monkeypatch.setattr(gate.network, "forward", lambda _: 1 / 0)
    gate.let.set()
    response = gated.post("/segment", files={"file": phantom_zip})
    assert response.status_code == 500
    assert response.json()["type"] == "urn:glioserve:problem:internal"
    assert "division" not in response.text


def test_the_openapi_document_is_the_one_in_the_repository():
    assert create_app(Settings(keys=Path("any"))).openapi() == json.loads(DOCUMENT.read_text())


def test_where_nobody_needs_a_key_the_document_asks_for_none():
    document = create_app(Settings()).openapi()
    assert "securitySchemes" not in document["components"]
    assert not any(operation["security"] for path in document["paths"].values() for operation in path.values())
