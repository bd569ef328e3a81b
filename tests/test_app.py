"""How the service starts, and how it behaves while it computes."""

import json
from pathlib import Path
from threading import Event, Thread

import pytest
from fastapi.testclient import TestClient
from known_networks import make_card, threshold_network
from torch import nn

from service.app import create_app
from service.segmentation.case import Modality
from service.segmentation.errors import WeightsError
from service.segmentation.labels import Region
from service.segmentation.weights import Checkpoint, Model
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
def gated_client(gate, model):
    """A service whose network waits at the gate; its weights are not loaded, the lifespan does not run."""
    app = create_app(Settings(device="cpu"))
    networks = (Checkpoint(gate, make_card(Region.WT)), *(c for c in model.checkpoints if Region.WT not in c.card.regions))
    app.state.worker = Worker(Model(networks, model.device), max_unpacked_mib=128)
    return TestClient(app)


def test_the_service_answers_others_while_it_computes(gate, gated_client, phantom_zip):
    answers = []
    request = Thread(target=lambda: answers.append(gated_client.post("/segment", files={"file": phantom_zip})))
    request.start()
    assert gate.asked.wait(timeout=60)
    assert gated_client.get("/livez").status_code == 200
    assert answers == []
    gate.let.set()
    request.join(timeout=60)
    assert answers[0].status_code == 200


def test_cases_take_turns(gate, gated_client, phantom_zip):
    with gated_client as started:  # one event loop for all requests; its start-up loads the bundled weights
        started.app.state.worker = gated_client_worker = Worker(
            Model((Checkpoint(gate, make_card(*Region, width=1)),), started.app.state.worker.model.device), 128
        )
        gate.network = threshold_three_channels()
        gate.let.set()
        answers = []
        requests = [
            Thread(target=lambda: answers.append(started.post("/segment", files={"file": phantom_zip}).status_code))
            for _ in range(3)
        ]
        for request in requests:
            request.start()
        for request in requests:
            request.join(timeout=60)
    assert answers == [200] * 3
    assert gate.most_inside == 1
    assert gated_client_worker
