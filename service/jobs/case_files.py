"""The files of an uploaded case in a job's folder: one zip, or one file per modality."""

from collections.abc import Mapping
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

from service.imaging.names import ROLE_OF_SUFFIX
from service.intake.archive import ZIP_NAME
from service.jobs.spool import Spool

CASE_FILE_NAMES = (ZIP_NAME, *ROLE_OF_SUFFIX)


class CaseFiles:
    """Writes the files of an upload to a job's folder while they arrive, and hashes them."""

    def __init__(self, spool: Spool, job_id: str) -> None:
        self._spool, self._job_id = spool, job_id
        self._hashes: dict[str, Any] = {}  # by file name

    def begin(self, name: str) -> None:
        """Start a file; `name` is one of CASE_FILE_NAMES."""
        self._hashes[name] = sha256()
        self._spool.append(self._job_id, name, b"")

    def append(self, name: str, data: bytes) -> None:
        """Append to a file. Raises SpoolError."""
        self._spool.append(self._job_id, name, data)
        self._hashes[name].update(data)

    @property
    def digest(self) -> str:
        """One hash over names and contents, independent of the order of the parts."""
        return _digest({name: contents.hexdigest() for name, contents in self._hashes.items()})


def digest_of(folder: Path) -> str:
    """The hash, as in `CaseFiles.digest`, of the files that are in a folder now. Raises OSError."""
    hashes = {}
    for path in folder.iterdir():
        with path.open("rb") as file:
            hashes[path.name] = file_digest(file, "sha256").hexdigest()
    return _digest(hashes)


def _digest(hashes: Mapping[str, str]) -> str:
    lines = [f"{name} {contents}\n" for name, contents in sorted(hashes.items())]
    return sha256("".join(lines).encode()).hexdigest()
