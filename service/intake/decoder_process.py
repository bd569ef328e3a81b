"""The decoder process, which reads uploads: `python -m service.intake.decoder_process FD`, started by `Decoder`.

It is separate because C libraries parse these files: a crash, an endless loop or out-of-memory ends this process,
and the service continues. For each upload, it receives a JSON message from the socket FD, and replies with a JSON
message and with the voxels in memory shared by both processes, so that nothing is copied.
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
from pathlib import Path
from typing import Any

from service.errors import DecodingError, RequestError, TooLargeError
from service.imaging.case import Case, read_case_from
from service.imaging.errors import InputError
from service.imaging.nifti_header import MAX_VOXELS
from service.intake.archive import open_upload
from service.machine.process import disable_core_dumps, limit_heap_growth, return_freed_memory, silence_libraries
from service.settings import MIB

MAX_MESSAGE_BYTES = 2**16
MAX_SECONDS = 120  # per case; the largest accepted case takes a tenth of it
MAX_MEMORY_MIB = 3072  # of address space: the five largest volumes take 1280, threads and libraries the rest
FIRST_OOM_VICTIM = "1000"  # when memory runs out, the kernel ends this process and not the service


def main() -> None:
    """Read one upload after the other, until the service closes the socket."""
    confine()
    disable_core_dumps()
    limit_heap_growth()
    silence_libraries()
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        while request := connection.recv(MAX_MESSAGE_BYTES):
            signal.alarm(2 * MAX_SECONDS)  # the service kills this process sooner, unless the service itself has ended
            reply, shared = read_upload(**json.loads(request))
            signal.alarm(0)
            socket.send_fds(connection, [json.dumps(reply).encode()], shared)
            for descriptor in shared:
                os.close(descriptor)
            return_freed_memory()


def confine() -> None:
    """Limit this process to what reading an upload needs."""
    for signal_number in (signal.SIGINT, signal.SIGTERM):  # meant for the service, which finishes running cases
        signal.signal(signal_number, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_MIB * MIB,) * 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4 * MAX_VOXELS,) * 2)  # the shared voxels count as a file
    if (adjustment := Path("/proc/self/oom_score_adj")).exists():
        adjustment.write_text(FIRST_OOM_VICTIM)


def read_upload(folder: str, max_unpacked_mib: int) -> tuple[dict[str, Any], list[int]]:
    """The reply about the upload in a folder: an error, or volumes and the descriptors of their voxels."""
    shared: dict[str, int] = {}

    def allocate(role: str, size_bytes: int) -> mmap.mmap:
        shared[role] = os.memfd_create("voxels", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
        os.ftruncate(shared[role], size_bytes)
        return mmap.mmap(shared[role], size_bytes)

    try:
        with open_upload(Path(folder), max_unpacked_mib) as files:
            case = read_case_from(files, allocate)
        return {"volumes": _layouts(case)}, [shared[role] for role in case.volumes]
    except Exception as error:  # the outermost handler of this process: the service decides what the error means
        for descriptor in shared.values():
            os.close(descriptor)
        return _describe_error(error), []


def _layouts(case: Case) -> dict[str, dict[str, Any]]:
    return {
        role: {"type": str(volume.voxels.dtype), "shape": volume.voxels.shape, "affine": volume.affine.tolist()}
        for role, volume in case.volumes.items()
    }


def _describe_error(error: Exception) -> dict[str, Any]:
    """An error by name. The message of an unforeseen one is dropped: it may quote the file."""
    if isinstance(error, RequestError | InputError):
        return {"error": type(error).__name__, "message": str(error)}
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        message = f"Case: reading it needs more than the {MAX_MEMORY_MIB} MiB of memory allowed."
        return {"error": TooLargeError.__name__, "message": message}
    frame = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{type(error).__name__} in {Path(frame.filename).name}, line {frame.lineno}"
    return {"error": DecodingError.__name__, "message": f"Reading an upload failed with {where}."}


if __name__ == "__main__":
    main()
