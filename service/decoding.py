"""The process that reads what clients sent: `python -m service.decoding FD`, which service.decoder starts.

It is one of its own because libraries in C read those files: one that ends in a crash, in an endless loop or without
memory ends this process, and the service goes on. It takes one message of JSON an upload from the socket FD, and
answers with one, and with the voxels in memory that both processes share, so that nothing is copied.
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

from service.archive import open_upload
from service.errors import DecodingError, RequestError, TooLargeError
from service.log import silence_libraries
from service.process import forbid_core_dumps, keep_heap_small, return_freed_memory
from service.segmentation.case import Case, read_case_from
from service.segmentation.errors import InputError
from service.segmentation.volume import MAX_VOXELS
from service.settings import MIB

MAX_MESSAGE_BYTES = 2**16
MAX_SECONDS = 120  # for a case; the largest that is let in takes a tenth of it
MAX_MEMORY_MIB = 3072  # of address space: the five largest volumes take 1280, and their threads and libraries the rest
MOST_LIKELY_TO_BE_KILLED = "1000"  # where memory runs out: this process, not the service


def main() -> None:
    """Read one upload after the other, until the service closes the socket."""
    confine()
    forbid_core_dumps()
    keep_heap_small()
    silence_libraries()
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        while request := connection.recv(MAX_MESSAGE_BYTES):
            signal.alarm(2 * MAX_SECONDS)  # the service ends what takes too long, unless it has ended itself
            reply, shared = read_upload(**json.loads(request))
            signal.alarm(0)
            socket.send_fds(connection, [json.dumps(reply).encode()], shared)
            for descriptor in shared:
                os.close(descriptor)
            return_freed_memory()


def confine() -> None:
    """Take from this process what reading an upload does not need."""
    for signal_number in (signal.SIGINT, signal.SIGTERM):  # meant for the service, which lets running cases end
        signal.signal(signal_number, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_MIB * MIB,) * 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4 * MAX_VOXELS,) * 2)  # the voxels that it shares count as a file
    if (adjustment := Path("/proc/self/oom_score_adj")).exists():
        adjustment.write_text(MOST_LIKELY_TO_BE_KILLED)


def read_upload(folder: str, max_unpacked_mib: int) -> tuple[dict[str, Any], list[int]]:
    """What to reply about the upload in a folder: an error, or volumes and the descriptors of their voxels."""
    shared: dict[str, int] = {}

    def allocate(role: str, size_bytes: int) -> mmap.mmap:
        shared[role] = os.memfd_create("voxels", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
        os.ftruncate(shared[role], size_bytes)
        return mmap.mmap(shared[role], size_bytes)

    try:
        with open_upload(Path(folder), max_unpacked_mib) as files:
            case = read_case_from(files, allocate)
        return {"volumes": _layouts(case)}, [shared[role] for role in case.volumes]
    except Exception as error:  # the outermost door of this process: the service decides what it means
        for descriptor in shared.values():
            os.close(descriptor)
        return _complaint(error), []


def _layouts(case: Case) -> dict[str, dict[str, Any]]:
    return {
        role: {"type": str(volume.voxels.dtype), "shape": volume.voxels.shape, "affine": volume.affine.tolist()}
        for role, volume in case.volumes.items()
    }


def _complaint(error: Exception) -> dict[str, Any]:
    """An error by name. Of one that nobody foresaw its message stays here: it may quote the file."""
    if isinstance(error, RequestError | InputError):
        return {"error": type(error).__name__, "message": str(error)}
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        found = f"Case: expected one that is read within {MAX_MEMORY_MIB} MiB of memory, found that it takes more."
        return {"error": TooLargeError.__name__, "message": found}
    frame = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{type(error).__name__} in {Path(frame.filename).name}, line {frame.lineno}"
    return {"error": DecodingError.__name__, "message": f"Reading an upload failed with {where}."}


if __name__ == "__main__":
    main()
