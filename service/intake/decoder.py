"""The service's side of the decoder process, which reads uploads."""

import fcntl
import json
import mmap
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

from service.errors import CrashError, DecodingError
from service.imaging.case import BRAIN_MASK, GROUND_TRUTH, Case, Modality, Series, case_of
from service.imaging.errors import PreparationError
from service.imaging.volume import Volume
from service.intake.decoder_process import MAX_MESSAGE_BYTES, MAX_SECONDS
from service.preparation.preparation import Preparation, PreparedSeries
from service.problems import PROBLEM_TYPES
from service.segmentation.options import DEFAULT_OPTIONS, Options

POLL_INTERVAL_S = 0.1
MAX_VOLUMES = len((*Modality, GROUND_TRUTH, BRAIN_MASK))
NO_CURRENT_FOLDER = ("-P",)  # otherwise Python would import modules from the current directory
ERRORS = {error.__name__: error for error in (*PROBLEM_TYPES, DecodingError)}


class Decoder:
    """Reads and prepares cases in a process that a malicious file may crash; one case at a time."""

    def __init__(self, max_unpacked_mib: int) -> None:
        self._max_unpacked_mib = max_unpacked_mib
        self._start()

    def read(
        self, folder: Path, options: Options = DEFAULT_OPTIONS, check_cancelled: Callable[[], None] = lambda: None
    ) -> tuple[Case, Sequence[str]]:
        """Read the case of an upload in a folder; also return why it has to be prepared, if it has.

        `check_cancelled` is called repeatedly; it cancels by raising.
        Raises RequestError or InputError for an unusable case, CrashError if the process crashed or hung, and
        DecodingError if it failed for an internal reason.
        """
        if self.has_ended:
            self.close()
            self._start()
        request = {"folder": str(folder), "max_unpacked_mib": self._max_unpacked_mib, "options": asdict(options)}
        reply, volumes = self._answer(request, check_cancelled)
        series = {Modality(modality): Series(**entries) for modality, entries in reply["series"].items()}
        return replace(case_of(volumes), series=series), reply["reasons"]

    def prepare(self, check_cancelled: Callable[[], None] = lambda: None) -> Preparation:
        """Prepare the case that was read last and has to be. Raises an InputError or DecodingError."""
        try:
            reply, volumes = self._answer({}, check_cancelled)
        except CrashError as error:
            raise PreparationError(
                f"Case: preparing this raw scan crashed, or took longer than the {MAX_SECONDS} s allowed."
            ) from error
        finally:
            self.close()  # the libraries of the preparation keep much memory; the next case starts another process
        series = {
            Modality(modality): PreparedSeries(np.array(entries["motion"]), entries["brain_overlap"])
            for modality, entries in reply["series"].items()
        }
        return Preparation(reply["reasons"], Modality(reply["reference"]), series, volumes[BRAIN_MASK])

    @property
    def pid(self) -> int:
        """Id of the process."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended; the next case starts another."""
        return self._process.poll() is not None

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.kill()
        self._process.wait()

    def _start(self) -> None:
        self._connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._connection.settimeout(POLL_INTERVAL_S)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, *NO_CURRENT_FOLDER, "-m", "service.intake.decoder_process", str(theirs.fileno())],
                env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},  # numpy would start threads that are never used
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,  # signals from a terminal are meant for the service
            )

    def _answer(
        self, request: Mapping[str, Any], check_cancelled: Callable[[], None]
    ) -> tuple[dict[str, Any], dict[str, Volume]]:
        """The reply to a request, and its volumes by role."""
        try:
            reply, shared = self._ask(request, check_cancelled)
        except BaseException:
            self.close()  # otherwise it could answer the next request with the result of this one
            raise
        if "error" in reply:
            raise ERRORS[reply["error"]](reply["message"])
        return reply, _volumes(reply["volumes"], shared)

    def _ask(self, request: Mapping[str, Any], check_cancelled: Callable[[], None]) -> tuple[dict[str, Any], list[int]]:
        deadline = monotonic() + MAX_SECONDS
        try:
            self._connection.send(json.dumps(request).encode())
            while not (received := self._receive()):
                check_cancelled()
                if monotonic() > deadline:
                    raise CrashError(f"Case: reading it took longer than the {MAX_SECONDS} s allowed.")
        except ConnectionError as error:
            raise CrashError("Case: expected readable files, found files that crashed the decoder process.") from error
        return received

    def _receive(self) -> tuple[dict[str, Any], list[int]] | None:
        """The reply, or None if it does not arrive within a poll interval. Raises ConnectionError at end of file."""
        try:
            reply, shared, _, _ = socket.recv_fds(self._connection, MAX_MESSAGE_BYTES, MAX_VOLUMES)
        except TimeoutError:
            return None
        if not reply:
            raise ConnectionResetError
        return json.loads(reply), shared


def _volumes(layouts: Mapping[str, Mapping[str, Any]], shared: Sequence[int]) -> dict[str, Volume]:
    """Map the shared memory of each volume."""
    volumes = {}
    for (role, layout), descriptor in zip(layouts.items(), shared, strict=True):
        with os.fdopen(descriptor, "rb") as file:
            fcntl.fcntl(
                file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK
            )  # reading truncated memory would crash the service
            memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        voxels = np.frombuffer(memory, layout["type"]).reshape(layout["shape"], order="F")
        volumes[role] = Volume(voxels, np.array(layout["affine"]))
    return volumes
