"""Takes every study through its stages: to the service, and its result to the archive."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from time import time
from zipfile import ZipFile

from pydicom import Dataset, dcmread

from service.bridge.archive import open_archive
from service.bridge.backoff import Backoff
from service.bridge.errors import LostJobError, Peer, PeerError, RefusedError, StudyError
from service.bridge.metrics import BridgeMetrics
from service.bridge.service_client import ServiceClient
from service.bridge.settings import BridgeSettings
from service.bridge.store import StudyStore
from service.bridge.study import Record, Stage, Study
from service.monitoring.log import log_line

MAX_JOBS = 2  # at once: one is segmented, one waits; more would only fill the queue of the service
DICOM_SUFFIX = ".dcm"
Step = Callable[[Study, Record], None]


class Courier:
    """Works on the studies of a store, one step at a time. Every step may be repeated after a crash."""

    def __init__(self, settings: BridgeSettings, store: StudyStore, metrics: BridgeMetrics) -> None:
        """Raises SettingsError."""
        self._settings, self._store, self._metrics = settings, store, metrics
        self._service, self._archive = ServiceClient(settings), open_archive(settings)
        self._backoff = Backoff()

    def advance_all(self) -> None:
        """Take the next step with every study that is due."""
        for study in self._store.studies():
            if self._backoff.is_due(study.id):
                try:
                    self._advance(study)
                except Exception as error:  # a study with an unforeseen problem must not stop the others
                    self._backoff.postpone(study.id)
                    self._metrics.errors.inc()
                    log_line("error", study=study.id, type=type(error).__name__)

    def _next_step(self, study: Study, record: Record) -> tuple[Peer | None, Step]:
        """What to do next with a study, and the peer that is needed for it."""
        if not study.image_names <= record.images:
            return Peer.SERVICE, self._submit
        match record.stage:
            case Stage.SEGMENTING:
                return Peer.SERVICE, self._fetch
            case Stage.DELIVERING:
                return Peer.ARCHIVE, self._deliver
            case Stage.FAILED if study.arrived_s > record.changed_s:  # its images were sent again
                return Peer.SERVICE, self._submit
        return None, self._clean

    def _advance(self, study: Study) -> None:
        """Take the next step; if it fails, take it again later, or record that the study failed."""
        record = study.record
        peer, step = self._next_step(study, record)
        if peer and not self._backoff.is_due(peer):
            return
        try:
            step(study, record)
        except PeerError as error:
            self._backoff.postpone(error.peer)
            self._metrics.set_peer(error.peer, is_up=False)
            log_line("peer-unreachable", peer=error.peer, reason=str(error))
        except RefusedError as error:
            self._backoff.postpone(study.id)
            self._metrics.set_peer(peer or Peer.SERVICE, is_up=False)
            log_line("refused", study=study.id, peer=peer, reason=str(error))
        except StudyError as error:
            self._fail(study, record, str(error))
        except LostJobError:
            self._change(study, stage=Stage.RECEIVING, images=frozenset(), job=None)

    def _submit(self, study: Study, record: Record) -> None:
        """Send a study to the service, once it is complete."""
        is_complete = time() - study.arrived_s >= self._settings.quiet_s
        if not is_complete or self._count_jobs() >= MAX_JOBS:
            return
        if record.job:  # images arrived after it was sent
            self._remove_job(record.job)
        paths = study.image_paths
        images = frozenset(path.name for path in paths)
        try:
            job = self._service.submit(paths)
        except StudyError:
            self._change(study, images=images)
            raise
        self._reached(Peer.SERVICE, study)
        self._change(study, stage=Stage.SEGMENTING, images=images, job=job, problem=None)

    def _fetch(self, study: Study, record: Record) -> None:
        """Fetch the result if there is one."""
        job = record.job or ""
        is_done = self._service.is_done(job)
        self._reached(Peer.SERVICE, study)
        if is_done:
            result = self._service.fetch_result(job)
            with self._store.changing(study):
                study.write_result(result)
            self._change(study, stage=Stage.DELIVERING)

    def _deliver(self, study: Study, record: Record) -> None:
        """Send the DICOM objects of the result to the archive; after an interruption, all of them again."""
        self._archive.store(read_objects(study.result))
        self._reached(Peer.ARCHIVE, study)
        self._change(study, stage=Stage.DELIVERED, job=None)
        self._metrics.delivered.inc()
        if record.job:
            self._remove_job(record.job)

    def _fail(self, study: Study, record: Record, problem: str) -> None:
        self._change(study, stage=Stage.FAILED, job=None, problem=problem)
        self._metrics.failed.labels(problem).inc()
        if record.job:
            self._remove_job(record.job)

    def _clean(self, study: Study, record: Record) -> None:
        """Remove images whose results are delivered, or that have waited for long after a failure."""
        if record.stage == Stage.DELIVERED or time() - record.changed_s > self._settings.keep_failed_s:
            with self._store.changing(study):
                if study.image_names <= record.images:
                    study.remove_files()

    def _count_jobs(self) -> int:
        return sum(study.record.stage == Stage.SEGMENTING for study in self._store.studies())

    def _remove_job(self, job: str) -> None:
        """Remove a job that is not needed any more; the service also removes it by itself, later."""
        try:
            self._service.remove(job)
        except (PeerError, RefusedError, LostJobError):
            return

    def _change(self, study: Study, **changes: object) -> None:
        with self._store.changing(study):
            record = study.write_record(**changes)
        log_line("study", study=study.id, stage=record.stage, job=record.job, problem=record.problem)

    def _reached(self, peer: Peer, study: Study) -> None:
        self._backoff.reset(peer)
        self._backoff.reset(study.id)
        self._metrics.set_peer(peer, is_up=True)


def read_objects(result: Path) -> list[Dataset]:
    """The DICOM objects of a result."""
    with ZipFile(result) as archive:
        names = [name for name in archive.namelist() if name.endswith(DICOM_SUFFIX)]
        return [dcmread(BytesIO(archive.read(name))) for name in names]
