"""The private folder of the cases that wait and the results that are kept: one folder a job, and a limit on all."""

import fcntl
import os
import re
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock

from service.errors import LostFileError, SettingsError, SpoolError
from service.settings import MIB

PRIVATE_FOLDER, PRIVATE_FILE = 0o700, 0o600
LOCK_NAME = "lock"
OF_THE_FILE_SYSTEM = "lost+found"  # in the topmost folder of a disk
JOB_ID = re.compile(r"[0-9a-f]{32}")


class Spool:
    """The files of jobs on disk, and how many bytes they take. Its methods may be called from several threads."""

    def __init__(self, folder: Path, max_mib: int) -> None:
        """Make the folder, or take over the one that is there.

        Raises SettingsError where it cannot be written, or another process has it.
        """
        try:
            self.folder = folder.expanduser().absolute()
            self.folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
            if not is_spool(self.folder):
                raise SettingsError(
                    f"GLIOSERVE_SPOOL: expected a folder of the service's own, new or empty, found one with other "
                    f"files in it: {folder}."
                )
            if stat.S_IMODE(self.folder.stat().st_mode) != PRIVATE_FOLDER:
                self.folder.chmod(PRIVATE_FOLDER)  # which only its owner may do
            self._lock_file = (self.folder / LOCK_NAME).open("w")
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SettingsError(
                f"GLIOSERVE_SPOOL: expected a folder of this process alone, found another service on {folder}."
            ) from error
        except (OSError, RuntimeError) as error:  # RuntimeError: a user without a home
            reason = error.strerror if isinstance(error, OSError) else error
            raise SettingsError(
                f"GLIOSERVE_SPOOL: expected a folder that can be written, and is this user's own, found {folder}: "
                f"{reason}."
            ) from error
        self.max_mib = max_mib
        self._counting = Lock()
        self.used_bytes = sum(_size(job) for job in self._job_folders())

    def close(self) -> None:
        """Let another process have the folder."""
        self._lock_file.close()

    def folder_of(self, job_id: str) -> Path:
        """Where the files of a job are."""
        return self.folder / job_id

    def check_room(self, announced_bytes: int) -> None:
        """Raise SpoolError where so many bytes more would be too many."""
        with _translated():
            free = shutil.disk_usage(self.folder).free
        if announced_bytes > free:
            raise SpoolError(f"Disk: expected room for {announced_bytes // MIB} MiB, found {free // MIB} MiB.")
        self._check_limit(announced_bytes)

    def create(self, job_id: str) -> None:
        """Make the folder of a job. Raises SpoolError."""
        with _translated():
            self.folder_of(job_id).mkdir(mode=PRIVATE_FOLDER)

    def append(self, job_id: str, name: str, data: bytes) -> None:
        """Add bytes to a file of a job. Raises SpoolError."""
        self._check_limit(len(data))
        path, flags = self.folder_of(job_id) / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND
        with _translated(), os.fdopen(os.open(path, flags, PRIVATE_FILE), "wb") as file:
            file.write(data)
        with self._counting:
            self.used_bytes += len(data)

    def read(self, job_id: str, name: str) -> bytes:
        """The bytes of a file of a job. Raises LostFileError."""
        try:
            return (self.folder_of(job_id) / name).read_bytes()
        except OSError as error:
            raise LostFileError(f"Spool: expected the file {name} of this job, found it gone or unreadable.") from error

    def sync(self, job_id: str) -> None:
        """Have all files of a job on the disk itself before this returns. Raises SpoolError."""
        with _translated():
            for path in (*self.folder_of(job_id).iterdir(), self.folder_of(job_id), self.folder):
                descriptor = os.open(path, os.O_RDONLY)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)

    def remove(self, job_id: str, names: Iterable[str] | None = None) -> None:
        """Remove these files of a job, or the whole of it; what is gone already is left out."""
        folder = self.folder_of(job_id)
        before = _size(folder)
        if names is None:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            for name in names:
                with suppress(OSError):
                    (folder / name).unlink()
        with self._counting:
            self.used_bytes -= before - _size(folder)

    def sweep(self, owned: Iterable[str]) -> int:
        """Remove the folders of jobs that are not among these: what a crash left behind. Gives their number."""
        left = {folder.name for folder in self._job_folders()} - set(owned)
        for job_id in left:
            self.remove(job_id)
        return len(left)

    def _check_limit(self, more_bytes: int) -> None:
        if self.used_bytes + more_bytes > self.max_mib * MIB:
            raise SpoolError(f"Spool: expected at most {self.max_mib} MiB of cases and results, found it full.")

    def _job_folders(self) -> list[Path]:
        return [path for path in self.folder.iterdir() if JOB_ID.fullmatch(path.name)]


def is_spool(folder: Path) -> bool:
    """Whether an earlier process had the folder, or nobody. What belongs to others is neither changed nor swept."""
    names = {path.name for path in folder.iterdir()} - {OF_THE_FILE_SYSTEM}
    return not names or LOCK_NAME in names


def _size(folder: Path) -> int:
    """Bytes of the files in a folder; files that go meanwhile count as nothing."""
    sizes = 0
    with suppress(OSError):
        for path in folder.iterdir():
            sizes += path.stat().st_size
    return sizes


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SpoolError(f"Spool: expected a disk that takes the case, found: {error.strerror}.") from error
