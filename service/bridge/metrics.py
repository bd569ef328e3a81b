"""Prometheus metrics of the bridge."""

from time import time

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector, generate_latest

from service.bridge.store import StudyStore
from service.bridge.study import Stage

IN_PROGRESS = (Stage.RECEIVING, Stage.SEGMENTING, Stage.DELIVERING)


class BridgeMetrics:
    """The metrics of one bridge."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self.images = self._counter("images_received", "Images that were stored")
        self.discarded = self._counter("objects_discarded", "Received objects that are not MR images")
        self.rejected = self._counter("images_rejected", "Images that were not stored: unreadable, or no room")
        self.delivered = self._counter("studies_delivered", "Studies whose results are in the archive")
        self.failed = Counter(
            "glioserve_bridge_studies_failed", "Studies that failed, by problem", ["problem"], registry=self._registry
        )
        self.errors = self._counter("errors", "Unexpected errors; the log has their types")
        self._peer_up = self._gauge("peer_up", "1 if the last request to the peer succeeded", "peer")
        self._studies = self._gauge("studies", "Studies of which images are here, by stage", "stage")
        self._oldest = self._gauge("oldest_study_seconds", "Age of the oldest study in progress, since its last image")
        self._folder_bytes = self._gauge("folder_bytes", "Disk space of the folder of the bridge")

    def set_peer(self, peer: str, *, is_up: bool) -> None:
        """Record whether the last request to a peer succeeded."""
        self._peer_up.labels(peer).set(is_up)

    def render(self, store: StudyStore) -> bytes:
        """All metrics in Prometheus text format."""
        stages = [(study.record.stage, study.arrived_s) for study in store.studies()]
        for stage in Stage:
            self._studies.labels(stage).set(sum(found == stage for found, _ in stages))
        arrivals = [arrived_s for stage, arrived_s in stages if stage in IN_PROGRESS and arrived_s]
        self._oldest.set(time() - min(arrivals) if arrivals else 0)
        self._folder_bytes.set(store.used_bytes)
        return generate_latest(self._registry)

    def _counter(self, name: str, description: str) -> Counter:
        return Counter(f"glioserve_bridge_{name}", description, registry=self._registry)

    def _gauge(self, name: str, description: str, *labels: str) -> Gauge:
        return Gauge(f"glioserve_bridge_{name}", description, labels, registry=self._registry)
