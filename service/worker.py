"""The three steps of a case: what a thread does between two turns."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.decoder import Decoder
from service.jobs import Job
from service.process import return_freed_memory
from service.report import make_report
from service.schemas import Report
from service.segmentation.labels import EnhancingLabel
from service.segmentation.model import Model
from service.segmentation.pipeline import PredictedCase, PreparedCase, finish, predict, prepare
from service.segmentation.volume import encode_nifti
from service.stopwatch import Stopwatch


@dataclass(frozen=True)
class Worker:
    """A resident model, and what is done with it. No two calls of one step may run at once."""

    model: Model
    decoder: Decoder

    def steps(self, job: Job) -> tuple[Callable[[Any], Any], ...]:
        """The steps of a job: the first takes the folder of its upload, each other what came of the one before."""
        enhancing, stopwatch = job.record.enhancing, job.stopwatch
        return (
            lambda folder: self.prepare(folder, stopwatch),
            lambda case: self.predict(case, stopwatch),
            lambda case: self.finish(case, enhancing, stopwatch),
        )

    def prepare(self, folder: Path, stopwatch: Stopwatch) -> PreparedCase:
        """Read and normalise the upload in a folder. Raises RequestError, InputError or DecodingError."""
        with stopwatch.stage("decode"):
            case = self.decoder.read(folder, stopwatch.check)
        return prepare(case, self.model, stopwatch)

    def predict(self, case: PreparedCase, stopwatch: Stopwatch) -> PredictedCase:
        """Run the networks."""
        return predict(case, self.model, stopwatch)

    def finish(self, case: PredictedCase, enhancing: EnhancingLabel, stopwatch: Stopwatch) -> tuple[bytes, Report]:
        """Fuse and measure; gives the mask as .nii.gz, and the report."""
        segmentation = finish(case, enhancing, stopwatch)
        with stopwatch.stage("encode"):
            mask = encode_nifti(segmentation.labels)
        return_freed_memory()
        return mask, make_report(segmentation, enhancing, self.model, stopwatch.timings_ms)
