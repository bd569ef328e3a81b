"""The decoder process, which reads and prepares uploads: `python -m service.intake.decoder_process FD`.

It is separate because C libraries process these files: a crash, an endless loop or out-of-memory ends this process,
and the service continues. `Decoder` starts it and sends requests as JSON messages through the socket FD. It replies
with a JSON message and with voxels in memory shared by both processes, so that nothing is copied.
"""

import errno
import json
import mmap
import os
import resource
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from service.errors import DecodingError, RequestError, TooLargeError
from service.imaging.case import BRAIN_MASK, Case
from service.imaging.errors import InputError, PreparationError
from service.imaging.header_checks import MAX_VOXELS
from service.imaging.names import has_images
from service.imaging.reading import read_case_from
from service.imaging.volume import Volume
from service.intake.archive import open_upload
from service.machine.process import disable_core_dumps, limit_heap_growth, return_freed_memory, silence_libraries
from service.preparation.raw import Prepare, reasons_to_prepare
from service.settings import MIB

MAX_MESSAGE_BYTES = 2**16
MAX_SECONDS = 120  # per case; the largest accepted case takes a tenth of it
MAX_MEMORY_MIB = 3072  # of private memory: preparing the largest volumes takes half of it
Allocate = Callable[[str, int], mmap.mmap]  # memory shared with the service, for a role and a size in bytes

FIRST_OOM_VICTIM = "1000"  # when memory runs out, the kernel ends this process and not the service


def main() -> None:
    """Read one upload after the other, until the service closes the socket."""
    confine()
    disable_core_dumps()
    limit_heap_growth()
    silence_libraries()
    reader = Reader()
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        while request := connection.recv(MAX_MESSAGE_BYTES):
            signal.alarm(2 * MAX_SECONDS)  # the service kills this process sooner, unless the service itself has ended
            reply, shared = reader.answer(json.loads(request))
            signal.alarm(0)
            socket.send_fds(connection, [json.dumps(reply).encode()], shared)
            for descriptor in shared:
                os.close(descriptor)
            return_freed_memory()


def confine() -> None:
    """Limit this process to what reading an upload needs."""
    for signal_number in (signal.SIGINT, signal.SIGTERM):  # meant for the service, which finishes running cases
        signal.signal(signal_number, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_DATA, (MAX_MEMORY_MIB * MIB,) * 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4 * MAX_VOXELS,) * 2)  # the shared voxels count as a file
    if (adjustment := Path("/proc/self/oom_score_adj")).exists():
        adjustment.write_text(FIRST_OOM_VICTIM)


class Reader:
    """Reads uploads, and prepares the last one on request."""

    def __init__(self) -> None:
        self._case: Case | None = None  # only if it has to be prepared: it occupies memory
        self._reasons: list[str] = []

    def answer(self, request: Mapping[str, Any]) -> tuple[dict[str, Any], list[int]]:
        """The reply to a request: an error, or what was asked for and the descriptors of its voxels."""
        shared: dict[str, int] = {}

        def allocate(role: str, size_bytes: int) -> mmap.mmap:
            shared[role] = os.memfd_create("voxels", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
            os.ftruncate(shared[role], size_bytes)
            return mmap.mmap(shared[role], size_bytes)

        try:
            reply = self._read(**request, allocate=allocate) if request else self._prepare(allocate)
        except Exception as error:  # the outermost handler of this process: the service decides what the error means
            for descriptor in shared.values():
                os.close(descriptor)
            return _describe_error(error), []
        return reply, [shared[role] for role in reply["volumes"]]

    def _read(
        self, folder: str, max_unpacked_mib: int, options: Mapping[str, Any], allocate: Allocate
    ) -> dict[str, Any]:
        self._case = None
        with open_upload(Path(folder), max_unpacked_mib) as files:
            case = _read_case(files, options, allocate)
        self._reasons = reasons_to_prepare(case, Prepare(options["prepare"]))
        if self._reasons:
            self._case = case
        series_of = {modality: asdict(series) for modality, series in case.series.items()}
        return {"volumes": _layouts(case.volumes), "reasons": self._reasons, "series": series_of}

    def _prepare(self, allocate: Allocate) -> dict[str, Any]:
        """Prepare the case that was read last."""
        # These libraries are large, and most cases do not need them.
        from service.preparation.brain import load_brain_networks
        from service.preparation.prepare import prepare_raw

        assert self._case, "a case is prepared after it was read, and only once"
        try:
            preparation = prepare_raw(self._case, self._reasons, load_brain_networks())
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and "alloc" not in str(error):  # how torch and SimpleITK report it
                raise
            raise PreparationError(
                f"Case: preparing this raw scan needs more than the {MAX_MEMORY_MIB} MiB of memory allowed."
            ) from error
        mask = preparation.brain_mask
        voxels = np.frombuffer(allocate(BRAIN_MASK, mask.voxels.size), bool).reshape(mask.voxels.shape, order="F")
        voxels[:] = mask.voxels
        series = {
            modality: {"motion": series.motion.tolist(), "brain_overlap": series.brain_overlap}
            for modality, series in preparation.series.items()
        }
        return {
            "volumes": _layouts({BRAIN_MASK: Volume(voxels, mask.affine)}),
            "reasons": preparation.reasons,
            "reference": preparation.reference,
            "series": series,
        }


def _read_case(files: Mapping[str, BinaryIO], options: Mapping[str, Any], allocate: Allocate) -> Case:
    """Read a case: from images if there are any, otherwise from DICOM files."""
    if not has_images(files):
        from service.dicom.study import is_study, read_study  # importing pydicom takes a second

        if is_study(files):
            return read_study(files, options["series"], options["allow_missing"], allocate)
    return read_case_from(files, allocate)


def _layouts(volumes: Mapping[str, Volume]) -> dict[str, dict[str, Any]]:
    return {
        role: {"type": str(volume.voxels.dtype), "shape": volume.voxels.shape, "affine": volume.affine.tolist()}
        for role, volume in volumes.items()
    }


def _describe_error(error: Exception) -> dict[str, Any]:
    """An error by name. The message of an unforeseen one is dropped: it may quote the file."""
    if isinstance(error, RequestError | InputError):
        return {"error": type(error).__name__, "message": str(error)}
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        message = f"Case: reading it needs more than the {MAX_MEMORY_MIB} MiB of memory allowed."
        return {"error": TooLargeError.__name__, "message": message}
    return {"error": DecodingError.__name__, "message": f"Reading an upload failed with {where(error)}."}


def where(error: Exception) -> str:
    """The name of an error and the line that raised it, without its message."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {Path(frame.filename).name}, line {frame.lineno}"


if __name__ == "__main__":
    main()
