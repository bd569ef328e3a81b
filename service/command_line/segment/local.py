"""Segments cases in this process, with the same code as the service."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path
from tempfile import TemporaryDirectory

from anyio import create_task_group, sleep, to_thread

from glioserve_client import Options, ProblemError, Progress, Result, SliceProgress, State
from glioserve_client.case import PackedCase
from glioserve_client.progress import ProgressCallback
from service.errors import DecodingError, RequestError
from service.imaging.case import Modality
from service.imaging.errors import InputError
from service.imaging.labels import EnhancingLabel
from service.intake.archive import ZIP_NAME
from service.intake.decoder import Decoder
from service.intake.dicom_writer import DicomWriter
from service.jobs.progress import JobProgress
from service.jobs.worker import Worker
from service.loading import load_and_warm_up
from service.preparation.raw import Prepare
from service.problems import problem_of
from service.segmentation import options as core
from service.settings import Settings

REPORT_INTERVAL_S = 0.25


class LocalSegmenter:
    """The steps of the service's work, without a queue."""

    max_cases = 1  # no step may run twice at the same time

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    async def segment(self, case: PackedCase, options: Options, progress: ProgressCallback) -> Result:
        """The result of a case. Raises ProblemError."""
        job = JobProgress()
        with TemporaryDirectory(prefix="glioserve-") as folder:
            Path(folder, ZIP_NAME).symlink_to(case.path.absolute())
            async with create_task_group() as tasks:
                tasks.start_soon(_report, job, progress)
                outcome = await to_thread.run_sync(self._attempt, Path(folder), core_options(options), job)
                tasks.cancel_scope.cancel()
        if isinstance(outcome, ProblemError):
            raise outcome
        return Result(outcome)

    def _attempt(self, folder: Path, options: core.Options, job: JobProgress) -> Mapping[str, bytes] | ProblemError:
        """The files of the result, or the problem that the service would respond with."""
        try:
            predicted = self._worker.predict(self._worker.prepare(folder, options, job), job)
            result, _ = self._worker.finish(folder, predicted, options, job)
        except (DecodingError, InputError, RequestError) as error:
            problem = problem_of(error)
            detail = str(error) if isinstance(error, DecodingError) else problem.detail
            return ProblemError(problem.type, problem.title, problem.status, detail)
        return result.files


@asynccontextmanager
async def open_local(settings: Settings) -> AsyncIterator[LocalSegmenter]:
    """Load the weights, and start the process that reads the cases. Raises SettingsError or WeightsError."""
    model = await to_thread.run_sync(load_and_warm_up, settings)
    with closing(Decoder(settings.max_unpacked_mib)) as decoder:
        yield LocalSegmenter(Worker(model, decoder, DicomWriter(settings.max_unpacked_mib)))


def core_options(options: Options) -> core.Options:
    """The options as the pipeline takes them."""
    return core.Options(
        EnhancingLabel(options.enhancing_label),
        options.probabilities,
        options.trust_names,
        options.allow_missing,
        Prepare(options.prepare),
        core.LabelGrid(options.grid) if options.grid else None,
        options.prepared,
        {Modality[name.upper()]: number for name, number in options.series.items()},
        core.Output(options.output),
    )


async def _report(job: JobProgress, progress: ProgressCallback) -> None:
    while True:
        slices = {network: SliceProgress(found.done, found.total) for network, found in job.slices.items()}
        progress(Progress(State.RUNNING, stage=job.current_stage, slices=slices))
        await sleep(REPORT_INTERVAL_S)
