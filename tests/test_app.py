"""How the service starts, and how it behaves while it computes."""

import json
from pathlib import Path
from threading import Event, Thread

import pytest
from fastapi.testclient import TestClient
from known_networks import make_card, save_model, threshold_network
from serving import ready_client
from torch import nn

from service.app import create_app
from service.segmentation.case import Modality
from service.segmentation.labels import Region
from service.segmentation.model import Checkpoint, Model
from service.settings import Settings
from service.worker import Worker

DOCUMENT = Path(__file__).parents[1] / "openapi" / "openapi.json"


class Gate(nn.Module):
    """A network that says when it is asked, and answers when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.network = threshold_network(Modality.FLAIR, 1, 2)
        self.asked, self.let = Event(), Event()
        self.inside = self.most_inside = 0

    def forward(self, slices):
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        self.asked.set()
        assert self.let.wait(timeout=60)
        self.inside -= 1
        return self.network(slices)


@pytest.fixture
def gate():
    return Gate()


@pytest.fixture
def gated(gate, model, tmp_path):
    """A service, started, whose first network waits at the gate."""
    weights = save_model(tmp_path / "weights", model)
    networks = [checkpoint for checkpoint in model.checkpoints if checkpoint.card.regions != (Region.WT,)]
    with ready_client(Settings(weights=weights, device="cpu", spool=tmp_path / "spool")) as client:
        gated_model = Model((Checkpoint(gate, make_card(Region.WT)), *networks), model.device)
        client.app.state.lifetime.queue.worker = Worker(gated_model, max_unpacked_mib=128)
        yield client


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
    for request in [post_in_background(gated, phantom_zip, answers) for _ in range(3)]:
        request.join(timeout=60)
    assert answers == [200] * 3
    assert gate.most_inside == 1


def test_before_the_weights_are_loaded_the_service_is_alive_but_not_ready(phantom_zip):
    client = TestClient(create_app(Settings(device="cpu")))  # not entered, so not started
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
    assert create_app(Settings()).openapi() == json.loads(DOCUMENT.read_text())
