"""The spool: a private folder of waiting cases and results, one subfolder per job, with a limit on their total size."""

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
FILE_SYSTEM_FOLDER = "lost+found"  # in the root directory of an ext file system
JOB_ID = re.compile(r"[0-9a-f]{32}")


class Spool:
    """The files of jobs on disk, and how many bytes they take. Thread-safe."""

    def __init__(self, folder: Path, max_mib: int) -> None:
        """Create the folder, or take over an existing spool.

        Raises SettingsError if it cannot be written, or another process uses it.
        """
        try:
            self.folder = folder.expanduser().absolute()
            self.folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
            if not is_spool(self.folder):
                raise SettingsError(
                    "GLIOSERVE_SPOOL: expected an empty or new folder, or an existing spool, found a folder with other "
                    f"files: {folder}."
                )
            if stat.S_IMODE(self.folder.stat().st_mode) != PRIVATE_FOLDER:
                self.folder.chmod(PRIVATE_FOLDER)  # fails unless this user owns the folder
            self._lock_file = (self.folder / LOCK_NAME).open("w")
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SettingsError(
                f"GLIOSERVE_SPOOL: expected a folder that only this process uses, found another service using {folder}."
            ) from error
        except (OSError, RuntimeError) as error:  # RuntimeError: a user without a home
            reason = error.strerror if isinstance(error, OSError) else error
            raise SettingsError(
                f"GLIOSERVE_SPOOL: expected a writable folder that this user owns, found {folder}: {reason}."
            ) from error
        self.max_mib = max_mib
        self._counting = Lock()
        self.used_bytes = sum(_size(job) for job in self._job_folders())

    def close(self) -> None:
        """Release the folder."""
        self._lock_file.close()

    def folder_of(self, job_id: str) -> Path:
        """The folder of a job."""
        return self.folder / job_id

    def check_room(self, announced_bytes: int) -> None:
        """Raise SpoolError if there is no room for this number of bytes."""
        with _spool_errors():
            free = shutil.disk_usage(self.folder).free
        if announced_bytes > free:
            raise SpoolError(f"Disk: expected room for {announced_bytes // MIB} MiB, found {free // MIB} MiB.")
        self._check_limit(announced_bytes)

    def create(self, job_id: str) -> None:
        """Create the folder of a job. Raises SpoolError."""
        with _spool_errors():
            self.folder_of(job_id).mkdir(mode=PRIVATE_FOLDER)

    def append(self, job_id: str, name: str, data: bytes) -> None:
        """Append bytes to a file of a job. Raises SpoolError."""
        self._check_limit(len(data))
        path, flags = self.folder_of(job_id) / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND
        with _spool_errors(), os.fdopen(os.open(path, flags, PRIVATE_FILE), "wb") as file:
            file.write(data)
        with self._counting:
            self.used_bytes += len(data)

    def read(self, job_id: str, name: str) -> bytes:
        """Read a file of a job. Raises LostFileError."""
        try:
            return (self.folder_of(job_id) / name).read_bytes()
        except OSError as error:
            raise LostFileError(
                f"Spool: expected the file {name} of this job, found it missing or unreadable."
            ) from error

    def sync(self, job_id: str) -> None:
        """Flush all files of a job to the disk (fsync). Raises SpoolError."""
        with _spool_errors():
            for path in (*self.folder_of(job_id).iterdir(), self.folder_of(job_id), self.folder):
                descriptor = os.open(path, os.O_RDONLY)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)

    def remove(self, job_id: str, names: Iterable[str] | None = None) -> None:
        """Remove these files of a job, or its whole folder; missing files are ignored."""
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

    def remove_orphans(self, job_ids: Iterable[str]) -> int:
        """Remove the folders of all other jobs, which a crash left behind; return the number of folders removed."""
        orphans = {folder.name for folder in self._job_folders()} - set(job_ids)
        for job_id in orphans:
            self.remove(job_id)
        return len(orphans)

    def _check_limit(self, more_bytes: int) -> None:
        if self.used_bytes + more_bytes > self.max_mib * MIB:
            raise SpoolError(f"The spool is full: it may hold at most {self.max_mib} MiB of cases and results.")

    def _job_folders(self) -> list[Path]:
        return [path for path in self.folder.iterdir() if JOB_ID.fullmatch(path.name)]


def is_spool(folder: Path) -> bool:
    """Whether a folder is empty or an existing spool. Folders with other files are never changed."""
    names = {path.name for path in folder.iterdir()} - {FILE_SYSTEM_FOLDER}
    return not names or LOCK_NAME in names


def _size(folder: Path) -> int:
    """Total bytes of the files in a folder; files that disappear meanwhile count as zero."""
    sizes = 0
    with suppress(OSError):
        for path in folder.iterdir():
            sizes += path.stat().st_size
    return sizes


@contextmanager
def _spool_errors() -> Iterator[None]:
    """Translate errors of the disk."""
    try:
        yield
    except OSError as error:
        raise SpoolError(f"Spool: expected the disk to accept the files, found: {error.strerror}.") from error
