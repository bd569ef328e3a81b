"""A bridge without its loops: a test advances it step by step."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from service.bridge.courier import Courier
from service.bridge.metrics import BridgeMetrics
from service.bridge.receiver import Receiver
from service.bridge.settings import BridgeSettings
from service.bridge.store import StudyStore
from service.bridge.study import Record, Stage
from support.dicom_nodes import send_files
from support.running_service import free_port, wait_until

QUIET_S = 0.3
NO_ARCHIVE = "dicom://ARCHIVE@127.0.0.1:104"


@dataclass(frozen=True)
class Bridge:
    """A bridge whose courier is advanced by the test."""

    settings: BridgeSettings
    store: StudyStore
    metrics: BridgeMetrics
    courier: Courier

    def send(self, files: Iterable[bytes], **options: object) -> list[int]:
        """Send DICOM files; return the status of each."""
        return send_files(files, self.settings.port, **options)

    def advance_until(self, stage: Stage, failures: int = 0) -> None:
        """Advance until the only study has this stage, after a number of failures."""
        wait_until(
            lambda: self.courier.advance_all() or (self.record.stage, self.failures >= failures) == (stage, True)
        )

    @property
    def failures(self) -> float:
        """How often a study lacked modalities."""
        return self.count("studies_failed_total", problem="modalities") or 0

    @property
    def record(self) -> Record:
        """The record of the only study."""
        [study] = self.store.studies()
        return study.record

    def count(self, name: str, **labels: str) -> float:
        """The value of a metric."""
        return self.metrics._registry.get_sample_value(f"glioserve_bridge_{name}", labels)


@contextmanager
def running_bridge(folder: Path, **changes: object) -> Iterator[Bridge]:
    """A bridge with a folder that receives images meanwhile."""
    settings = BridgeSettings(folder=folder, port=free_port(), quiet_s=QUIET_S, **changes)
    store, metrics = StudyStore(settings.folder, settings.max_folder_mib), BridgeMetrics()
    server = Receiver(settings, store, metrics).start()
    try:
        yield Bridge(settings, store, metrics, Courier(settings, store, metrics))
    finally:
        server.shutdown()
        store.close()
