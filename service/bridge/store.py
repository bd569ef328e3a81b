"""All studies in progress, in the private folder of the bridge."""

import fcntl
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import disk_usage
from threading import RLock
from time import time

from service.bridge.errors import FullError
from service.bridge.study import Study, hash_of
from service.errors import SettingsError
from service.settings import BRIDGE_PREFIX, MIB

LOCK, INCOMING, STUDIES = "lock", "incoming", "studies"
LEFTOVER_S = 3600  # age of a file that nobody is sending any more
RESERVE_BYTES = 64 * MIB  # free disk space that images do not use, for records and results


class StudyStore:
    """The studies on disk, and how many bytes they take. Thread-safe: changes of studies happen under `lock`."""

    def __init__(self, folder: Path, max_mib: int) -> None:
        """Create the folder or take it over. Raises SettingsError if it cannot be used, or another process uses it."""
        self._folder, self._max_bytes = folder.expanduser().absolute(), max_mib * MIB
        self.lock = RLock()
        try:
            for name in (INCOMING, STUDIES):
                (self._folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
            self._folder.chmod(0o700)
            self._lock_file = (self._folder / LOCK).open("w")
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for leftover in self.incoming.iterdir():  # what was being received when the process ended
                leftover.unlink()
        except BlockingIOError as error:
            self.close()
            raise SettingsError(f"{BRIDGE_PREFIX}FOLDER: another bridge uses {folder}.") from error
        except OSError as error:
            raise SettingsError(
                f"{BRIDGE_PREFIX}FOLDER: expected a folder that this user can write, found {folder}: {error.strerror}."
            ) from error
        self.used_bytes = sum(file.stat().st_size for file in self._folder.rglob("*") if file.is_file())

    def close(self) -> None:
        """Release the folder."""
        self._lock_file.close()

    @property
    def incoming(self) -> Path:
        """The folder for files that are being received, on the same file system as the studies."""
        return self._folder / INCOMING

    def check_room(self, more_bytes: int) -> None:
        """Raise FullError if there is no room for this number of bytes."""
        free = disk_usage(self._folder).free - RESERVE_BYTES
        if self.used_bytes + more_bytes > self._max_bytes or more_bytes > free:
            raise FullError("no room in the folder of the bridge")

    def add_image(self, study_uid: str, instance_uid: str, path: Path) -> None:
        """Move the file of an image into its study. Raises FullError; OSError if the disk fails."""
        self.check_room(path.stat().st_size)
        with self.lock:
            self.used_bytes += self._study(study_uid).add_image(instance_uid, path)

    def studies(self) -> list[Study]:
        """All studies, in order of their last image."""
        folders = (self._folder / STUDIES).iterdir()
        return sorted(map(Study, folders), key=lambda study: (study.arrived_s, study.id))

    def missing_images(self, study_uid: str, instance_uids: Iterable[str]) -> list[str]:
        """Which images of a study are neither here, nor answered or failed already."""
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

    def remove_leftovers(self) -> None:
        """Remove incoming files of connections that broke long ago."""
        for file in self.incoming.iterdir():
            with suppress(FileNotFoundError):
                if time() - file.stat().st_mtime > LEFTOVER_S:
                    file.unlink()

    def _study(self, study_uid: str) -> Study:
        return Study(self._folder / STUDIES / hash_of(study_uid))


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
