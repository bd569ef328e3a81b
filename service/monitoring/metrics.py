"""Prometheus metrics."""

import torch
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector, generate_latest

from service.jobs.job import OUTCOMES, Job
from service.jobs.queue import QueueStatus
from service.networks.model import Model
from service.networks.precision import precision_name
from service.schemas import Report
from service.settings import MIB, Settings

BUCKETS_S = (0.01, 0.03, 0.1, 0.3, 1, 2, 3, 5, 10, 30, 100, 300, 1000)


class Metrics:
    """The service's metrics, in a registry of their own, so that two services in one process do not share them."""

    def __init__(self, settings: Settings) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._define_requests()
        self._define_jobs()
        self._define_queue(settings)
        self._define_model(settings)

    def describe_model(self, model: Model) -> None:
        """Report which weights are in use, and how."""
        precision = precision_name(model.precision)
        labels = {"name": model.name, "version": model.version, "sha256": model.sha256}
        self._model.info(labels | {"device": str(model.device), "precision": precision})
        if model.device.type == "cuda":
            self._device_used.set_function(lambda: torch.cuda.memory_reserved(model.device))

    def count_job(self, job: Job, report: Report | None) -> None:
        """Count a job that ended, and its report if it has one."""
        self._jobs.labels(job.outcome).inc()
        self._queue_wait.observe(job.progress.wait_s)
        for network, slices in job.progress.slices.items():
            self._slices.labels(network).inc(slices.done)
        if report:
            self._compute.observe(job.progress.compute_s)
            self._degraded.inc(report.degraded)
            self._reviews.inc(report.review_recommended)
            for stage, ms in job.progress.timings_ms.items():
                self._stages.labels(stage).observe(ms / 1000)

    def render(self, queue: QueueStatus) -> bytes:
        """All metrics in Prometheus text format."""
        self._depth.set(queue.depth)
        self._running.set(queue.running)
        self._spool_used.set(queue.spool_bytes)
        self._ready.set(queue.is_ready)
        return generate_latest(self._registry)

    def _define_requests(self) -> None:
        self.requests = self._counter("requests", "Requests by route and outcome", "route", "outcome")
        self.rejections = self._counter("rejections", "Cases rejected before they were queued", "reason")

    def _define_jobs(self) -> None:
        self._jobs = self._counter("jobs", "Jobs that ended, by outcome", "outcome")
        for outcome in OUTCOMES:
            self._jobs.labels(outcome)  # starts at zero: otherwise the first failure would not appear as an increase
        self._degraded = self._counter("degraded", "Cases that needed smaller batches or the CPU")
        self._reviews = self._counter("review_recommended", "Cases for which the report recommends a review")
        self._slices = self._counter("slices", "Slices processed by a network", "network")
        self._queue_wait = self._histogram("queue_wait_seconds", "Time in the queue")
        self._compute = self._histogram("compute_seconds", "Computing time of a case")
        self._stages = self._histogram("stage_seconds", "Time of a stage of a case", "stage")

    def _define_queue(self, settings: Settings) -> None:
        self._depth = self._gauge("queue_depth", "Waiting cases and uploads in progress")
        self._running = self._gauge("running", "Running cases")
        self._spool_used = self._gauge("spool_bytes", "Disk space of cases and results")
        self._ready = self._gauge("ready", "1 if new cases are accepted")
        self._gauge("queue_limit", "Maximum number of waiting cases").set(settings.queue_size)
        self._gauge("spool_limit_bytes", "Maximum disk space of cases and results").set(settings.max_spool_mib * MIB)

    def _define_model(self, settings: Settings) -> None:
        self._model = Info("glioserve_model", "The weights in use", registry=self._registry)
        self._device_used = self._gauge("device_memory_bytes", "GPU memory reserved")
        budget = self._gauge("device_memory_budget_bytes", "Maximum GPU memory")
        budget.set(settings.device_memory_mib * MIB)

    def _counter(self, name: str, description: str, *labels: str) -> Counter:
        return Counter(f"glioserve_{name}", description, labels, registry=self._registry)

    def _gauge(self, name: str, description: str) -> Gauge:
        return Gauge(f"glioserve_{name}", description, registry=self._registry)

    def _histogram(self, name: str, description: str, *labels: str) -> Histogram:
        return Histogram(f"glioserve_{name}", description, labels, buckets=BUCKETS_S, registry=self._registry)
