"""Request ids and the log lines of requests and jobs."""

import json
import re

import pytest

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def lines(caplog):
    """The log lines of an event so far."""
    caplog.set_level("INFO", "glioserve")
    return lambda event: [
        line
        for line in (json.loads(record.message) for record in caplog.records if record.name == "glioserve")
        if line["event"] == event
    ]


def test_a_request_id_is_logged_and_returned(client, lines):
    response = client.get("/livez", headers={"X-Request-ID": "ward-7:42"})
    assert response.headers["X-Request-ID"] == "ward-7:42"
    assert lines("request")[-1]["request_id"] == "ward-7:42"


@pytest.mark.parametrize("request_id", ['"forged', "x" * 129, None])
def test_an_unusable_or_missing_request_id_is_replaced(request_id, client):
    response = client.get("/livez", headers={} if request_id is None else {"X-Request-ID": request_id})
    assert re.fullmatch("[0-9a-f]{32}", response.headers["X-Request-ID"])


def test_an_unexpected_error_has_a_request_id(client, monkeypatch):
    monkeypatch.setattr(client.app.state.runtime.metrics, "render", lambda _: 1 / 0)
    response = client.get("/metrics", headers={"X-Request-ID": "ward-7:42"})
    assert (response.status_code, response.headers["X-Request-ID"]) == (500, "ward-7:42")


def test_only_a_valid_traceparent_is_logged(client, lines):
    client.get("/livez", headers={"traceparent": TRACEPARENT})
    client.get("/livez", headers={"traceparent": "nonsense"})
    assert [line.get("traceparent") for line in lines("request")] == [TRACEPARENT, None]


def test_a_request_is_logged_in_one_line_with_its_outcome(client, lines, phantom_zip):
    client.post("/segment", files={"file": ("secret-name.zip", phantom_zip)})
    [line] = lines("request")
    assert {name: line[name] for name in ("method", "route", "status", "state", "shape")} == {
        "method": "POST",
        "route": "/segment",
        "status": 200,
        "state": "done",
        "shape": [150, 180, 50],
    }
    assert line["ms"] > 0
    [job] = lines("job")
    assert (job["job"], job["outcome"]) == (line["job"], "done")
    assert job["compute_ms"] > job["wait_ms"] >= 0
    assert "secret" not in json.dumps([line, job])


def test_the_log_has_the_route_and_not_the_requested_path(client, lines):
    client.get("/jobs/Jane-Doe")
    client.get("/Jane-Doe?name=Jane-Doe")
    assert [line["route"] for line in lines("request")] == ["/jobs/{job_id}", "none"]
    assert "Doe" not in json.dumps(lines("request"))


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_probes_support_head(client, path):
    response = client.head(path)
    assert (response.status_code, response.content) == (200, b"")
