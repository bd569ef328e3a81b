"""What is noted of requests and cases: ids, log lines, metrics."""

from support.api import ASYNC, post_case, submit_case, wait_for_job, fill_queue
import json
import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def lines(caplog):
    """The log lines so far, read as JSON."""
    caplog.set_level("INFO", "glioserve")
    return lambda event: [
        line
        for line in (json.loads(record.message) for record in caplog.records if record.name == "glioserve")
        if line["event"] == event
    ]


def value_of(client, sample_name, /, **labels):
    """A sample of the metrics now."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    samples = [sample for family in families for sample in family.samples if sample.name == sample_name]
    return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())


def test_a_request_id_is_logged_and_returned(client, lines):
    response = client.get("/livez", headers={"X-Request-ID": "ward-7:42"})
    assert response.headers["X-Request-ID"] == "ward-7:42"
    assert lines("request")[-1]["request_id"] == "ward-7:42"


@pytest.mark.parametrize("given", ['"forged', "x" * 129, None])
def test_an_unusable_or_missing_request_id_is_replaced(given, client):
    response = client.get("/livez", headers={} if given is None else {"X-Request-ID": given})
    assert re.fullmatch("[0-9a-f]{32}", response.headers["X-Request-ID"])


def test_an_unexpected_error_has_a_request_id(client, monkeypatch):
    monkeypatch.setattr(client.app.state.lifetime.metrics, "render", lambda _: 1 / 0)
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


def test_metrics_separate_waiting_from_computing_and_count_slices(client, phantom_zip):
    names = ("glioserve_queue_wait_seconds", "glioserve_compute_seconds")
    before = {name: value_of(client, f"{name}_count") for name in names}
    slices = value_of(client, "glioserve_slices_total", network="wt")
    wait_for_job(client, submit_case(client, phantom_zip))
    assert {name: value_of(client, f"{name}_count") for name in names} == {name: n + 1 for name, n in before.items()}
    assert value_of(client, "glioserve_slices_total", network="wt") == slices + 50
    assert value_of(client, "glioserve_stage_seconds_sum", stage="decode") > 0
    assert value_of(client, "glioserve_requests_total", route="/segment", outcome="202") >= 1
    assert value_of(client, "glioserve_model_info", name="known", precision="float32") == 1


def test_metrics_count_rejections_and_failures_by_reason(client):
    unreadable = value_of(client, "glioserve_jobs_total", outcome="failed")
    assert post_case(client, b"no zip").status_code == 400
    assert value_of(client, "glioserve_jobs_total", outcome="failed") == unreadable + 1
    refused = value_of(client, "glioserve_rejections_total", reason="media-type")
    client.post("/segment", content=b"{}", headers={"Content-Type": "application/json"})
    assert value_of(client, "glioserve_rejections_total", reason="media-type") == refused + 1


def test_metrics_show_the_queue(gate, gated_client, phantom_zip):
    jobs = fill_queue(gate, gated_client, phantom_zip)
    assert post_case(gated_client, phantom_zip, **ASYNC).status_code == 429
    assert value_of(gated_client, "glioserve_queue_depth") == value_of(gated_client, "glioserve_queue_limit") == 2
    assert value_of(gated_client, "glioserve_running") == 2
    assert value_of(gated_client, "glioserve_ready") == 0
    assert value_of(gated_client, "glioserve_rejections_total", reason="queue-full") == 1
    assert value_of(gated_client, "glioserve_spool_bytes") >= 4 * len(phantom_zip)
    gate.open()
    for job in jobs:
        wait_for_job(gated_client, job)
    assert value_of(gated_client, "glioserve_queue_depth") == value_of(gated_client, "glioserve_running") == 0


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_probes_support_head(client, path):
    response = client.head(path)
    assert (response.status_code, response.content) == (200, b"")
