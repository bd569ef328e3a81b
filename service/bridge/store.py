"""All studies of the bridge, in its private folder."""

import fcntl
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path
from shutil import disk_usage
from threading import RLock
from time import time

from service.bridge.errors import FullError
from service.bridge.study import STUDY_ID, Study, hash_of
from service.errors import SettingsError
from service.settings import BRIDGE_PREFIX, MIB

LOCK, INCOMING, STUDIES = "lock", "incoming", "studies"
FILE_SYSTEM_FOLDER = "lost+found"  # in the root directory of an ext file system
LEFTOVER_S = 3600  # age of an incoming file that nobody is sending any more
RECORDS_KEPT_S = 31 * 86400  # so that a study is segmented once; longer than the largest `poll_days`
RESERVE_BYTES = 128 * MIB  # free disk space that images do not use, for records and results


class StudyStore:
    """The studies on disk, and how many bytes they take. Thread-safe: studies are changed under `lock`."""

    def __init__(self, folder: Path, max_mib: int) -> None:
        """Create the folder or take it over. Raises SettingsError if it cannot be used, or another process uses it."""
        self._folder, self._max_bytes = folder.expanduser().absolute(), max_mib * MIB
        self.lock = RLock()
        try:
            self._lock_file = _open_folder(self._folder)
            for leftover in self.incoming.iterdir():  # what was being received when the process ended
                leftover.unlink()
        except OSError as error:
            raise SettingsError(
                f"{BRIDGE_PREFIX}FOLDER: expected a folder that this user can write, found {folder}: {error.strerror}."
            ) from error
        self.used_bytes = _size(self._folder)

    def close(self) -> None:
        """Release the folder."""
        self._lock_file.close()

    @property
    def incoming(self) -> Path:
        """The folder for files that are being received, on the same file system as the studies."""
        return self._folder / INCOMING

    def add_image(self, study_uid: str, instance_uid: str, path: Path) -> bool:
        """Move the file of an image into its study; return whether it is new there.

        Raises FullError; OSError if the disk fails.
        """
        with self.lock:
            self._check_room(path.stat().st_size)
            size = self._study(study_uid).add_image(instance_uid, path)
            self.used_bytes += size
        return size > 0

    def studies(self) -> list[Study]:
        """The studies of which images are here, in order of their last image."""
        folders = [folder for folder in (self._folder / STUDIES).iterdir() if STUDY_ID.fullmatch(folder.name)]
        with_images = [study for study in map(Study, folders) if study.arrived_s]
        return sorted(with_images, key=lambda study: (study.arrived_s, study.id))

    def missing_images(self, study_uid: str, instance_uids: Iterable[str]) -> list[str]:
        """Which images of a study are neither here nor have been segmented."""
        with self.lock:
            study = self._study(study_uid)
            known = study.record.images | study.image_names
        return [uid for uid in instance_uids if hash_of(uid) not in known]

    @contextmanager
    def changing(self, study: Study) -> Iterator[Study]:
        """Change a study: no image is added meanwhile, and its size is counted afterwards."""
        with self.lock:
            before = _size(study.folder)
            try:
                yield study
            finally:
                self.used_bytes += _size(study.folder) - before

    def new_file(self) -> Path:
        """A new empty file in the folder for incoming files."""
        descriptor, name = tempfile.mkstemp(dir=self.incoming)
        os.close(descriptor)
        return Path(name)

    def remove_expired(self) -> None:
        """Remove incoming files of connections that broke long ago, and old records of studies that have ended."""
        for file in self.incoming.iterdir():
            with suppress(FileNotFoundError):
                if time() - file.stat().st_mtime > LEFTOVER_S:
                    file.unlink()
        for study in map(Study, (self._folder / STUDIES).iterdir()):
            with self.changing(study):
                if not study.arrived_s and STUDY_ID.fullmatch(study.id) and study.age_s > RECORDS_KEPT_S:
                    study.remove()

    def _check_room(self, more_bytes: int) -> None:
        if self.used_bytes + more_bytes > self._max_bytes:
            raise FullError(f"the limit of {self._max_bytes // MIB} MiB is reached")
        if more_bytes > disk_usage(self._folder).free - RESERVE_BYTES:
            raise FullError("the disk is full")

    def _study(self, study_uid: str) -> Study:
        return Study(self._folder / STUDIES / hash_of(study_uid))


def _open_folder(folder: Path) -> TextIOWrapper:
    """Create a folder or take over that of an earlier bridge; return its locked file. Raises OSError, SettingsError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    names = {path.name for path in folder.iterdir()} - {FILE_SYSTEM_FOLDER}
    if names and LOCK not in names:
        raise SettingsError(
            f"{BRIDGE_PREFIX}FOLDER: expected a new or empty folder, or one of an earlier bridge, found one with other "
            f"files: {folder}."
        )
    lock = (folder / LOCK).open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise SettingsError(f"{BRIDGE_PREFIX}FOLDER: another bridge uses {folder}.") from error
    folder.chmod(0o700)
    for name in (INCOMING, STUDIES):
        (folder / name).mkdir(mode=0o700, exist_ok=True)
    return lock


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
