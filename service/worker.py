"""The turns that cases take: one is decoded while the one before it is computed."""

from anyio import Lock, to_thread

from service.answer import encode_answer
from service.device import return_freed_memory
from service.report import Stopwatch, make_report
from service.segmentation.labels import EnhancingLabel
from service.segmentation.model import Model
from service.segmentation.pipeline import PreparedCase, prepare, segment_prepared
from service.segmentation.volume import encode_nifti
from service.upload import Upload, unpack


class Worker:
    """Segments uploads in the order of their arrival with a resident model."""

    def __init__(self, model: Model, max_unpacked_mib: int) -> None:
        self.model = model
        self.max_unpacked_mib = max_unpacked_mib
        self._decoding, self._computing = Lock(), Lock()

    async def segment(self, upload: Upload, enhancing: EnhancingLabel, media_type: str, stopwatch: Stopwatch) -> bytes:
        """The answer to an upload, encoded; waits for its turn. Raises RequestError or InputError."""
        with stopwatch.stage("wait"):
            await self._decoding.acquire()
        try:
            case = await to_thread.run_sync(self._prepare, upload, stopwatch)
            with stopwatch.stage("wait"):
                await self._computing.acquire()  # before the next case is decoded: at most one lies ready
        finally:
            self._decoding.release()
        try:
            return await to_thread.run_sync(self._compute, case, enhancing, media_type, stopwatch)
        finally:
            self._computing.release()
            await to_thread.run_sync(return_freed_memory)

    def segment_now(self, upload: Upload, enhancing: EnhancingLabel, media_type: str) -> bytes:
        """The answer to an upload, encoded, computed in the calling thread."""
        stopwatch = Stopwatch()
        return self._compute(self._prepare(upload, stopwatch), enhancing, media_type, stopwatch)

    def _prepare(self, upload: Upload, stopwatch: Stopwatch) -> PreparedCase:
        with stopwatch.stage("unpack"):
            files = unpack(upload, self.max_unpacked_mib)
        return prepare(files, stopwatch.stage)

    def _compute(self, case: PreparedCase, enhancing: EnhancingLabel, media_type: str, stopwatch: Stopwatch) -> bytes:
        segmentation = segment_prepared(case, self.model, enhancing, stopwatch.stage)
        with stopwatch.stage("encode"):
            mask = encode_nifti(segmentation.labels)
        return encode_answer(media_type, mask, make_report(segmentation, enhancing, self.model, stopwatch.timings_ms))
