"""The one thread that computes, so that cases take turns and the event loop stays free."""

from collections.abc import Callable
from functools import partial

from anyio import CapacityLimiter, to_thread

from service.answer import encode_answer
from service.report import Stopwatch, make_report
from service.segmentation.labels import EnhancingLabel
from service.segmentation.pipeline import segment
from service.segmentation.volume import encode_nifti
from service.segmentation.weights import Model
from service.upload import Upload, unpack


class Worker:
    """Segments one upload at a time with a resident model."""

    def __init__(self, model: Model, max_unpacked_mib: int) -> None:
        self.model = model
        self.max_unpacked_mib = max_unpacked_mib
        self._one_at_a_time = CapacityLimiter(1)

    async def segment(self, upload: Upload, enhancing: EnhancingLabel, media_type: str) -> bytes:
        """The answer to an upload, encoded; waits for its turn. Raises RequestError or InputError."""
        work: Callable[[], bytes] = partial(self.segment_now, upload, enhancing, media_type)
        return await to_thread.run_sync(work, limiter=self._one_at_a_time)

    def segment_now(self, upload: Upload, enhancing: EnhancingLabel, media_type: str) -> bytes:
        """The answer to an upload, encoded, computed in the calling thread."""
        stopwatch = Stopwatch()
        with stopwatch.stage("unpack"):
            files = unpack(upload, self.max_unpacked_mib)
        segmentation = segment(files, self.model, enhancing, stopwatch.stage)
        with stopwatch.stage("encode"):
            mask = encode_nifti(segmentation.labels)
        return encode_answer(media_type, mask, make_report(segmentation, enhancing, self.model, stopwatch.timings_ms))
