"""Startup, computing cases one at a time, and the OpenAPI document."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import sleep

import pytest
from fastapi.testclient import TestClient
from support.api import post_case, read_problem
from support.running_service import LOOPBACK, wait_until

from service.app import create_app
from service.settings import Settings

SECONDS_TO_DECODE = 2  # several times what decoding the phantom takes
DOCUMENT = Path(__file__).parents[1] / "openapi" / "openapi.json"


@pytest.fixture
def threads():
    """Threads for requests that wait for their response."""
    with ThreadPoolExecutor() as threads:
        yield threads


def test_other_requests_are_answered_during_a_computation(gate, gated_client, phantom_zip, threads):
    response = threads.submit(post_case, gated_client, phantom_zip)
    gate.wait_for_forward_pass()
    assert gated_client.get("/livez").status_code == 200
    assert not response.done()
    gate.open()
    assert response.result().status_code == 200


def test_cases_are_computed_one_at_a_time(gate, gated_client, phantom_zip, threads):
    first = threads.submit(post_case, gated_client, phantom_zip)
    gate.wait_for_forward_pass()
    second = threads.submit(post_case, gated_client, phantom_zip)
    wait_until(lambda: gated_client.app.state.runtime.queue_status.running == 2)  # the second one is being decoded
    sleep(SECONDS_TO_DECODE)
    assert gate.forward_passes == 1
    assert not first.done()
    assert not second.done()
    gate.open()
    assert [response.result().status_code for response in (first, second)] == [200, 200]
    assert gate.forward_passes > 1


def test_the_service_is_alive_but_not_ready_before_startup(phantom_zip):
    client = TestClient(create_app(Settings(device="cpu")), LOOPBACK)  # without `with`, which would start the service
    assert client.get("/livez").status_code == 200
    for response in (client.get("/readyz"), post_case(client, phantom_zip)):
        read_problem(response, 503, "not-ready")


def test_an_internal_error_is_a_problem_without_details(gate, gated_client, phantom_zip, monkeypatch):
    monkeypatch.setattr(gate.network, "forward", lambda _: 1 / 0)
    gate.open()
    response = post_case(gated_client, phantom_zip)
    assert "division" not in read_problem(response, 500, "internal")
    assert "division" not in response.text


def test_the_openapi_document_matches_the_committed_one():
    assert create_app(Settings(keys_file=Path("any"))).openapi() == json.loads(DOCUMENT.read_text())


def test_the_openapi_document_has_no_security_scheme_without_keys():
    document = create_app(Settings()).openapi()
    assert "securitySchemes" not in document["components"]
    assert not any(operation["security"] for path in document["paths"].values() for operation in path.values())
