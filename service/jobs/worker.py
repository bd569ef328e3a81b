"""The three steps of the work on a case, each of which runs in a thread."""

from dataclasses import dataclass
from pathlib import Path

from service.imaging.labels import EnhancingLabel
from service.imaging.nifti import encode_nifti
from service.intake.decoder import Decoder
from service.jobs.progress import JobProgress
from service.jobs.report import make_report
from service.machine.process import return_freed_memory
from service.networks.model import Model
from service.schemas import Report
from service.segmentation.pipeline import PredictedCase, PreparedCase, finish, predict, prepare


@dataclass(frozen=True)
class Worker:
    """A loaded model and the steps that use it. No step may run twice at the same time."""

    model: Model
    decoder: Decoder

    def prepare(self, folder: Path, progress: JobProgress) -> PreparedCase:
        """Read and normalise the upload in a folder. Raises RequestError, InputError or DecodingError."""
        with progress.stage("decode"):
            case = self.decoder.read(folder, progress.check_cancelled)
        return prepare(case, self.model, progress)

    def predict(self, case: PreparedCase, progress: JobProgress) -> PredictedCase:
        """Run the networks."""
        return predict(case, self.model, progress)

    def finish(self, case: PredictedCase, enhancing: EnhancingLabel, progress: JobProgress) -> tuple[bytes, Report]:
        """Resample, measure and encode; return the label map as .nii.gz, and the report."""
        segmentation = finish(case, enhancing, progress)
        with progress.stage("encode"):
            label_map = encode_nifti(segmentation.labels)
        return_freed_memory()
        return label_map, make_report(segmentation, enhancing, self.model, progress.timings_ms)
