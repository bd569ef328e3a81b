"""The result of a case: the files that the service returned."""

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any
from zipfile import BadZipFile, ZipFile

from nibabel.nifti1 import Nifti1Image

from glioserve_client.errors import UnexpectedAnswerError

LABEL_MAP_NAME, REPORT_NAME = "segmentation.nii.gz", "report.json"


@dataclass(frozen=True)
class Result:
    """The result of one case."""

    files: Mapping[str, bytes]  # by name: segmentation.nii.gz, report.json, and what else was asked for
    job_id: str | None = None  # of the service; None if the case was not sent to one

    @cached_property
    def labels(self) -> Nifti1Image:
        """The label map."""
        return Nifti1Image.from_bytes(gzip.decompress(self.files[LABEL_MAP_NAME]))

    @cached_property
    def report(self) -> dict[str, Any]:
        """The report; docs/api.md lists its fields."""
        report: dict[str, Any] = json.loads(self.files[REPORT_NAME])
        return report

    @property
    def volumes_ml(self) -> dict[str, float]:
        """Volume of each region in millilitres: WT, TC, ET."""
        return {region: found["volume_ml"] for region, found in self.report["regions"].items()}

    def save(self, folder: str | Path) -> None:
        """Write all files to a folder, which is created if it does not exist. Raises OSError."""
        for name, content in self.files.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def read_result(content: bytes, job_id: str) -> Result:
    """The result in a zip that the service sent. Raises UnexpectedAnswerError."""
    try:
        with ZipFile(BytesIO(content)) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
    except BadZipFile as error:
        raise UnexpectedAnswerError("Result: expected a zip, found another format.") from error
    if missing := {LABEL_MAP_NAME, REPORT_NAME} - files.keys():
        raise UnexpectedAnswerError(f"Result: expected a zip with {', '.join(sorted(missing))}, found none.")
    if any(PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts for name in files):
        raise UnexpectedAnswerError("Result: expected relative names of files, found one that leads elsewhere.")
    return Result(files, job_id)
