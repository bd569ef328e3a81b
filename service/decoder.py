"""The service's end of the process that reads what clients sent."""

import fcntl
import json
import mmap
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

from service.decoding import MAX_MESSAGE_BYTES, MAX_SECONDS
from service.errors import CrashError, DecodingError
from service.problems import KINDS
from service.segmentation.case import GROUND_TRUTH, Case, Modality, case_of
from service.segmentation.volume import Volume

SECONDS_BETWEEN_LOOKS = 0.1
MAX_VOLUMES = len((*Modality, GROUND_TRUTH))
NOT_FROM_HERE = ("-P",)  # or Python would import what lies in the current folder
ERRORS = {error.__name__: error for error in (*KINDS, DecodingError)}


class Decoder:
    """Reads cases in a process that a bad one may end; one case at a time."""

    def __init__(self, max_unpacked_mib: int) -> None:
        self._max_unpacked_mib = max_unpacked_mib
        self._start()

    def read(self, folder: Path, check: Callable[[], None] = lambda: None) -> Case:
        """The case of an upload in a folder; `check` is called now and then, and what it raises ends the reading.

        Raises RequestError or InputError as reading does, CrashError where the process ended or never did, and
        DecodingError where it failed for a reason of its own.
        """
        if self.ended:
            self.close()
            self._start()
        try:
            reply, shared = self._ask({"folder": str(folder), "max_unpacked_mib": self._max_unpacked_mib}, check)
        except BaseException:
            self.close()  # whatever it is at, it is not to answer the next request with it
            raise
        if "error" in reply:
            raise ERRORS[reply["error"]](reply["message"])
        return _case(reply["volumes"], shared)

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether the process has ended; the next case starts another."""
        return self._process.poll() is not None

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.kill()
        self._process.wait()

    def _start(self) -> None:
        self._connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._connection.settimeout(SECONDS_BETWEEN_LOOKS)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, *NOT_FROM_HERE, "-m", "service.decoding", str(theirs.fileno())],
                env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},  # numpy would start threads that nothing here needs
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,  # what a terminal sends is meant for the service
            )

    def _ask(self, request: Mapping[str, Any], check: Callable[[], None]) -> tuple[dict[str, Any], list[int]]:
        deadline = monotonic() + MAX_SECONDS
        try:
            self._connection.send(json.dumps(request).encode())
            while not (received := self._receive()):
                check()
                if monotonic() > deadline:
                    raise CrashError(f"Case: expected one that is read in {MAX_SECONDS} s, found it still being read.")
        except ConnectionError as error:
            raise CrashError("Case: expected one that can be read, found that what reads it crashed.") from error
        return received

    def _receive(self) -> tuple[dict[str, Any], list[int]] | None:
        """The reply, if it comes within a moment. Raises ConnectionError where none will come."""
        try:
            reply, shared, _, _ = socket.recv_fds(self._connection, MAX_MESSAGE_BYTES, MAX_VOLUMES)
        except TimeoutError:
            return None
        if not reply:
            raise ConnectionResetError
        return json.loads(reply), shared


def _case(layouts: Mapping[str, Mapping[str, Any]], shared: Sequence[int]) -> Case:
    volumes = {}
    for (role, layout), descriptor in zip(layouts.items(), shared, strict=True):
        with os.fdopen(descriptor, "rb") as file:
            fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)  # or reading what was cut off would end us
            memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        voxels = np.frombuffer(memory, layout["type"]).reshape(layout["shape"], order="F")
        volumes[role] = Volume(voxels, np.array(layout["affine"]))
    return case_of(volumes)
