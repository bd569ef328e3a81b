"""The lifecycle of the service: load the model, run the queue, and shut down in order."""

import logging
from contextlib import closing

from anyio import create_task_group, to_thread

from service.errors import NotReadyError, SettingsError
from service.intake.decoder import Decoder
from service.intake.dicom_writer import DicomWriter
from service.jobs.job import Job
from service.jobs.queue import NOT_LOADED, Queue, QueueStatus, shutting_down
from service.jobs.records import JobRecords
from service.jobs.repository import JobRepository
from service.jobs.scheduler import Scheduler
from service.jobs.spool import Spool
from service.jobs.worker import Worker
from service.loading import load_and_warm_up
from service.monitoring.job_events import record_job
from service.monitoring.metrics import Metrics
from service.networks.errors import WeightsError
from service.schemas import Report
from service.security.access_control import SCHEME, AccessControl
from service.security.audit import FILE_NAME as AUDIT_FILE_NAME
from service.security.audit import AuditLog
from service.settings import Settings

log = logging.getLogger("uvicorn.error")


class Runtime:
    """The running service: live but not ready at first; `run` makes it ready, `shut_down` ends it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics(settings)
        self.access_control = AccessControl(settings)
        self.audit_log = AuditLog()
        self.failure: Exception | None = None  # why it could not start
        self.has_ended = False
        self._queue: Queue | None = None
        self._grace_s: float | None = None  # set at shutdown

    @property
    def queue(self) -> Queue:
        """The queue. Raises NotReadyError while the model is loading, and after shutdown."""
        if self._queue is None and self._grace_s is not None:
            raise shutting_down()
        if self._queue is None:
            raise NotReadyError("The model is still loading.", retry_after_s=1)
        return self._queue

    @property
    def queue_status(self) -> QueueStatus:
        """The status of the queue, also while the model is loading."""
        return self._queue.status if self._queue else NOT_LOADED

    async def run(self) -> None:
        """Load the model, then work until shut down. If loading fails, `failure` has the reason."""
        try:
            await self._run()
        except (SettingsError, WeightsError) as error:
            self.failure = error
        finally:
            self.has_ended = True

    def shut_down(self, grace_s: float) -> None:
        """Accept no new cases, and let running ones finish within the grace period."""
        if self._grace_s is None:
            log.info("Shutting down. Running cases may take %g s to finish; a second signal stops at once.", grace_s)
        self._grace_s = grace_s
        if self._queue:
            self._queue.scheduler.drain(grace_s)

    async def _run(self) -> None:
        if self.access_control.keys:
            self.access_control.keys.load()
        spool = await to_thread.run_sync(Spool, self.settings.spool, self.settings.max_spool_mib)
        try:
            self.audit_log.open(self.settings.audit_log or spool.folder / AUDIT_FILE_NAME)
            with (
                closing(JobRecords(spool.folder)) as records,
                closing(Decoder(self.settings.max_unpacked_mib)) as decoder,
            ):
                await self._serve(JobRepository(spool, records), decoder)
        finally:
            self.audit_log.close()
            spool.close()

    async def _serve(self, repository: JobRepository, decoder: Decoder) -> None:
        """Load the model, and run jobs until drained."""
        model = await to_thread.run_sync(load_and_warm_up, self.settings)
        self.metrics.describe_model(model)
        self.audit_log.record_start(model.sha256)
        scheduler = Scheduler(
            Worker(model, decoder, DicomWriter(self.settings.max_unpacked_mib)),
            repository,
            self.settings,
            self._record_job,
        )
        async with create_task_group() as tasks:
            await tasks.start(scheduler.run)
            self._queue = Queue(scheduler, repository, self.settings)
            log.info("Ready. To try it, in another terminal: %s", example_command(self.settings))
            if self._grace_s is not None:
                scheduler.drain(self._grace_s)
        self._queue = None  # before the records are closed

    def _record_job(self, job: Job, report: Report | None) -> None:
        record_job(job, report, self.metrics, self.audit_log)


def example_command(settings: Settings) -> str:
    """A curl command that sends a case."""
    scheme = "https" if settings.tls_certificate else "http"
    key = f"-H 'Authorization: {SCHEME} KEY' " if settings.keys_file else ""
    address = f"{scheme}://{settings.host}:{settings.port}/segment"
    return f"curl -sS --fail-with-body {key}-F file=@case.zip -o result.zip {address}"
