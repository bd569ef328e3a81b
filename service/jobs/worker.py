"""The three steps of the work on a case, each of which runs in a thread."""

from dataclasses import dataclass
from pathlib import Path

from service.imaging.nifti import encode_nifti
from service.intake.decoder import Decoder
from service.intake.dicom_writer import DicomWriter
from service.jobs.progress import JobProgress
from service.jobs.report import make_report
from service.jobs.result import LABEL_MAP_NAME, PROBABILITY_NAMES, REPORT_NAME, JobResult
from service.machine.process import return_freed_memory
from service.networks.model import Model
from service.schemas import Report
from service.segmentation.checks import check_case
from service.segmentation.options import Options, Output
from service.segmentation.pipeline import PredictedCase, PreparedCase, finish, predict, prepare


@dataclass(frozen=True)
class Worker:
    """A loaded model and the steps that use it. No step may run twice at the same time."""

    model: Model
    decoder: Decoder
    dicom_writer: DicomWriter

    def prepare(self, folder: Path, options: Options, progress: JobProgress) -> PreparedCase:
        """Read and normalise the upload in a folder. Raises RequestError, InputError or DecodingError."""
        preparation = None
        with progress.stage("decode"):
            case, reasons_to_prepare = self.decoder.read(folder, options, progress.check_cancelled)
        check_case(case, self.model, options)
        if reasons_to_prepare:
            with progress.stage("prepare"):
                preparation = self.decoder.prepare(progress.check_cancelled)
        return prepare(case, self.model, options, progress, preparation)

    def predict(self, case: PreparedCase, progress: JobProgress) -> PredictedCase:
        """Run the networks."""
        return predict(case, self.model, progress)

    def finish(
        self, folder: Path, case: PredictedCase, options: Options, progress: JobProgress
    ) -> tuple[JobResult, Report]:
        """Resample, measure and encode. Raises DecodingError if DICOM cannot be written."""
        segmentation = finish(case, self.model, options, progress)
        with progress.stage("encode"):
            files = {LABEL_MAP_NAME: encode_nifti(segmentation.labels)}
            for region, probability in segmentation.probabilities.items():
                files[PROBABILITY_NAMES[region]] = encode_nifti(probability, slope=1 / 255)
            files |= segmentation.prepared_files
        return_freed_memory()
        report = make_report(segmentation, options.enhancing, self.model, progress.timings_ms)
        if options.output == Output.DICOM:
            voxels = segmentation.labels.voxels
            files |= self.dicom_writer.write(folder, options, segmentation.label_role, voxels, report)
        files[REPORT_NAME] = report.model_dump_json(indent=2).encode()
        return JobResult(files), report
