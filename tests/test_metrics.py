"""The Prometheus metrics."""

from prometheus_client.parser import text_string_to_metric_families
from support.api import ASYNC, fill_queue, post_case, submit_case, wait_for_job


def value_of(client, sample_name, /, **labels):
    """The current value of a metric, summed over the labels that are not given."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    samples = [sample for family in families for sample in family.samples if sample.name == sample_name]
    return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())


def test_metrics_separate_waiting_from_computing_and_count_slices(client, phantom_zip):
    def read_counts():
        return {
            "waits": value_of(client, "glioserve_queue_wait_seconds_count"),
            "computations": value_of(client, "glioserve_compute_seconds_count"),
            "slices": value_of(client, "glioserve_slices_total", network="wt"),
            "accepted": value_of(client, "glioserve_requests_total", route="/segment", outcome="202"),
        }

    before, decode_s = read_counts(), value_of(client, "glioserve_stage_seconds_sum", stage="decode")
    wait_for_job(client, submit_case(client, phantom_zip))
    added = {name: count - before[name] for name, count in read_counts().items()}
    assert added == {"waits": 1, "computations": 1, "slices": 50, "accepted": 1}
    assert value_of(client, "glioserve_stage_seconds_sum", stage="decode") > decode_s
    assert value_of(client, "glioserve_model_info", name="known", precision="float32") == 1


def test_metrics_count_rejections_and_failures_by_reason(client):
    failed = value_of(client, "glioserve_jobs_total", outcome="failed")
    assert post_case(client, b"no zip").status_code == 400
    assert value_of(client, "glioserve_jobs_total", outcome="failed") == failed + 1
    rejected = value_of(client, "glioserve_rejections_total", reason="media-type")
    client.post("/segment", content=b"{}", headers={"Content-Type": "application/json"})
    assert value_of(client, "glioserve_rejections_total", reason="media-type") == rejected + 1


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
