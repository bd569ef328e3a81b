"""What a hospital can watch, in the text format of Prometheus."""

from dataclasses import dataclass

import torch
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector, generate_latest

from service.jobs import OUTCOMES, Job
from service.schemas import Report
from service.segmentation.model import Model
from service.segmentation.network import precision_name
from service.settings import MIB, Settings

SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 2, 3, 5, 10, 30, 100, 300, 1000)


@dataclass(frozen=True)
class Load:
    """What is going on at a moment."""

    depth: int  # cases that wait or arrive
    running: int  # cases that are worked on
    spool_bytes: int
    ready: bool  # whether a new case would be taken


class Metrics:
    """The service's counters and gauges, in a registry of their own: two services in one process do not mix."""

    def __init__(self, settings: Settings) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "glioserve_requests", "Requests by route and outcome", ["route", "outcome"], registry=registry
        )
        self.rejections = Counter(
            "glioserve_rejections", "Cases that were refused before they waited", ["reason"], registry=registry
        )
        self._jobs = Counter("glioserve_jobs", "Cases that ended, by outcome", ["outcome"], registry=registry)
        for outcome in OUTCOMES:
            self._jobs.labels(outcome)  # a first failure is an increase only where there was a zero before
        self._degraded = Counter(
            "glioserve_degraded", "Cases that ran out of device memory and went on with less", registry=registry
        )
        self._slices = Counter("glioserve_slices", "Slices that a network was run on", ["network"], registry=registry)
        self._queue_wait = Histogram(
            "glioserve_queue_wait_seconds", "Time that a case waited", buckets=SECONDS, registry=registry
        )
        self._compute = Histogram(
            "glioserve_compute_seconds", "Time of work on a case", buckets=SECONDS, registry=registry
        )
        self._stages = Histogram(
            "glioserve_stage_seconds", "Time of a stage of a case", ["stage"], buckets=SECONDS, registry=registry
        )
        self._depth = Gauge("glioserve_queue_depth", "Cases that wait or arrive", registry=registry)
        self._running = Gauge("glioserve_running", "Cases that are worked on", registry=registry)
        self._spool_used = Gauge("glioserve_spool_bytes", "Cases and results on disk", registry=registry)
        self._ready = Gauge("glioserve_ready", "1 where new cases are taken", registry=registry)
        self._device_used = Gauge("glioserve_device_memory_bytes", "Memory held of a CUDA card", registry=registry)
        self._model = Info("glioserve_model", "The weights that answer", registry=registry)
        for name, what, limit in (
            ("queue_limit", "Cases that may wait or arrive", settings.max_waiting),
            ("spool_limit_bytes", "Cases and results on disk at most", settings.max_spool_mib * MIB),
            ("device_memory_budget_bytes", "Memory of a CUDA card at most", settings.device_memory_mib * MIB),
        ):
            Gauge(f"glioserve_{name}", what, registry=registry).set(limit)

    def describe(self, model: Model) -> None:
        """State which weights answer, and how."""
        precision = precision_name(model.precision)
        facts = {"name": model.name, "version": model.version, "sha256": model.sha256}
        self._model.info(facts | {"device": str(model.device), "precision": precision})
        if model.device.type == "cuda":
            self._device_used.set_function(lambda: torch.cuda.memory_reserved(model.device))

    def observe(self, job: Job, report: Report | None) -> None:
        """Count a job that ended; its report if it has one."""
        self._jobs.labels(job.outcome).inc()
        self._queue_wait.observe(job.stopwatch.wait_s)
        for network, slices in job.stopwatch.slices.items():
            self._slices.labels(network).inc(slices.done)
        if report:
            self._compute.observe(job.stopwatch.compute_s)
            self._degraded.inc(report.degraded)
            for stage, ms in job.stopwatch.timings_ms.items():
                self._stages.labels(stage).observe(ms / 1000)

    def render(self, load: Load) -> bytes:
        """All of it, as Prometheus reads it."""
        self._depth.set(load.depth)
        self._running.set(load.running)
        self._spool_used.set(load.spool_bytes)
        self._ready.set(load.ready)
        return generate_latest(self._registry)
