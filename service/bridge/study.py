"""A study in progress: a folder with its images, the results, and a record of what has been done.

Names are hashes: neither the folder nor the record contains a UID. What a method has written when it returns survives a
crash and a power cut.
"""

import os
import re
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from shutil import rmtree
from time import time

from pydantic import BaseModel, ValidationError

IMAGES, RESULT, RECORD = "images", "result.zip", "record.json"
HASH_CHARACTERS = 32
STUDY_ID = re.compile(rf"[0-9a-f]{{{HASH_CHARACTERS}}}")


class Stage(StrEnum):
    """What has been done with a study."""

    RECEIVING = "receiving"
    SEGMENTING = "segmenting"
    DELIVERING = "delivering"
    DELIVERED = "delivered"
    FAILED = "failed"


class Record(BaseModel):
    """What has been done with a study, and with which of its images."""

    stage: Stage = Stage.RECEIVING
    images: frozenset[str] = frozenset()  # the names of the images that this record is about
    job: str | None = None  # the path of the job at the service
    problem: str | None = None
    changed_s: float = 0  # Unix time


class Study:
    """One study in its folder. The caller makes sure that no two threads change it at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.result = folder / RESULT

    @property
    def id(self) -> str:
        """The hash of the StudyInstanceUID."""
        return self.folder.name

    def add_image(self, instance_uid: str, path: Path) -> int:
        """Move a file into the study, unless the image is there; return by how many bytes the study grew."""
        images, size = self._images_folder, path.stat().st_size
        if not images.exists():
            images.mkdir(parents=True)
            _sync(self.folder.parent)
            _sync(self.folder)
        target = images / hash_of(instance_uid)
        if target.exists():
            path.unlink()
            os.utime(images)  # it arrived again: a failed study is tried again
            return 0
        _sync(path)
        path.rename(target)
        _sync(images)
        return size

    @property
    def image_paths(self) -> list[Path]:
        """The files of the images, by name."""
        return sorted(self._images_folder.iterdir()) if self._images_folder.exists() else []

    @property
    def image_names(self) -> frozenset[str]:
        """The hashes of the SOPInstanceUIDs of the images."""
        return frozenset(path.name for path in self.image_paths)

    @property
    def arrived_s(self) -> float:
        """When the last image arrived, as Unix time; 0 if there is none."""
        try:
            return self._images_folder.stat().st_mtime
        except FileNotFoundError:
            return 0.0

    @property
    def age_s(self) -> float:
        """The time since the last change of the record; that of the folder if it has none."""
        path = self.folder / RECORD
        return time() - (path if path.exists() else self.folder).stat().st_mtime

    @property
    def record(self) -> Record:
        """What has been done; a record that is missing, damaged or unreadable is that of a new study."""
        try:
            return Record.model_validate_json((self.folder / RECORD).read_bytes())
        except (OSError, ValidationError):
            return Record()

    def write_record(self, **changes: object) -> Record:
        """Change the record on disk and return it."""
        record = self.record.model_copy(update={"changed_s": time()} | changes)
        draft = self.folder / f"{RECORD}.new"
        draft.write_text(record.model_dump_json())
        _sync(draft)
        draft.rename(self.folder / RECORD)
        _sync(self.folder)
        return record

    def write_result(self, result: bytes) -> None:
        """Write the response of the service."""
        self.result.write_bytes(result)
        _sync(self.result)
        _sync(self.folder)

    def remove_files(self) -> None:
        """Remove images and result; the record stays."""
        self.result.unlink(missing_ok=True)
        rmtree(self._images_folder, ignore_errors=True)

    def remove(self) -> None:
        """Remove the study with its record."""
        rmtree(self.folder, ignore_errors=True)

    @property
    def _images_folder(self) -> Path:
        return self.folder / IMAGES


def hash_of(uid: str) -> str:
    """The name under which a UID is stored."""
    return sha256(uid.encode()).hexdigest()[:HASH_CHARACTERS]


def _sync(path: Path) -> None:
    """Flush a file or a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
