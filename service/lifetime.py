"""What lives as long as the process: it loads, works through the queue, and ends in order."""

import logging
from contextlib import closing

import torch
from anyio import create_task_group, to_thread

from service import phantom
from service.audit import NAME as AUDIT_NAME
from service.audit import Audit
from service.decoder import Decoder
from service.device import choose_device, choose_precision, limit_memory, usable_cpus
from service.disk import JobsOnDisk
from service.door import SCHEME, Door
from service.errors import NotReadyError, SettingsError
from service.jobs import Job
from service.log import log_line
from service.metrics import Load, Metrics
from service.queue import Queue, ending
from service.schemas import Report
from service.segmentation.errors import WeightsError
from service.segmentation.model import Model
from service.segmentation.pipeline import segment
from service.segmentation.predict import fit_memory
from service.segmentation.weights import load_model
from service.settings import Settings
from service.spool import Spool
from service.store import JobStore
from service.worker import Worker

log = logging.getLogger("uvicorn.error")


class Lifetime:
    """Starts as a service that is alive and not ready; `run` makes it ready, `end` ends it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics(settings)
        self.door = Door(settings)
        self.audit = Audit()
        self.failure: Exception | None = None  # why it could not start
        self.ended = False
        self._queue: Queue | None = None
        self._grace_s: float | None = None  # once it is told to end

    @property
    def queue(self) -> Queue:
        """The queue. Raises NotReadyError while the weights load, and once it has ended."""
        if self._queue is None and self._grace_s is not None:
            raise ending()
        if self._queue is None:
            raise NotReadyError("Weights: expected loaded and warm, found still loading.", retry_after_s=1)
        return self._queue

    @property
    def load(self) -> Load:
        """What is going on now."""
        return self._queue.load if self._queue else Load(depth=0, running=0, spool_bytes=0, ready=False)

    async def run(self) -> None:
        """Load, then work until told to end. Where loading fails, `failure` says why."""
        try:
            await self._run()
        except (SettingsError, WeightsError) as error:
            self.failure = error
        finally:
            self.ended = True

    def end(self, grace_s: float) -> None:
        """Take no new cases, and let running ones end within so many seconds."""
        self._grace_s = grace_s
        if self._queue:
            self._queue.drain(grace_s)

    async def _run(self) -> None:
        if self.door.keys:
            self.door.keys.load()
        spool = await to_thread.run_sync(Spool, self.settings.spool, self.settings.max_spool_mib)
        try:
            self.audit.open(self.settings.audit or spool.folder / AUDIT_NAME)
            with closing(JobStore(spool.folder)) as store, closing(Decoder(self.settings.max_unpacked_mib)) as decoder:
                model = await to_thread.run_sync(load_and_warm_up, self.settings)
                self.metrics.describe(model)
                self.audit.start(model.sha256)
                queue = Queue(Worker(model, decoder), JobsOnDisk(spool, store), self.settings, self._note_job)
                async with create_task_group() as tasks:
                    await tasks.start(queue.run)
                    self._queue = queue
                    log.info("Ready. To try it, in another terminal: %s", try_line(self.settings))
                    if self._grace_s is not None:
                        queue.drain(self._grace_s)
                self._queue = None  # before its records are closed
        finally:
            self.audit.close()
            spool.close()

    def _note_job(self, job: Job, report: Report | None) -> None:
        """Note a job that ended in the metrics, the log and the audit."""
        self.metrics.observe(job, report)
        problem = job.record.problem and job.record.problem.type
        outcome = {"job": job.id, "outcome": job.outcome, "problem": problem}
        log_line(
            "job",
            **outcome,
            wait_ms=job.stopwatch.timings_ms.get("wait"),
            compute_ms=round(1000 * job.stopwatch.compute_s, 1),
            shape=job.shape,
        )
        self.audit.note("job", **outcome, key=job.record.owner, input=job.record.digest)


def try_line(settings: Settings) -> str:
    """A command that sends a case."""
    scheme = "https" if settings.tls_certificate else "http"
    key = f"-H 'Authorization: {SCHEME} KEY' " if settings.keys else ""
    address = f"{scheme}://{settings.host}:{settings.port}/segment"
    return f"curl -sS --fail-with-body {key}-F file=@case.zip -o result.zip {address}"


def load_and_warm_up(settings: Settings) -> Model:
    """Load the weights and segment the phantom once: the first request must not pay for what only first calls do.

    Raises SettingsError or WeightsError.
    """
    torch.set_num_threads(settings.threads or usable_cpus())
    device = choose_device(settings.device)
    limit_memory(device, settings.device_memory_mib)
    model = load_model(settings.weights, device, quantised=settings.precision in ("auto", "int8"))
    model = model.optimised(choose_precision(settings.precision))
    if device.type == "cuda":
        model = fit_memory(model)
    segment(phantom.encode_phantom(phantom.make_phantom(phantom.SLAB_GRID)), model)
    return model
