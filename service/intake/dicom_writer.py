"""The service's side of writing DICOM: a process for each case, as it reads the headers of an upload again."""

import json
import subprocess
import sys
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from numpy.typing import NDArray

from service.errors import DecodingError
from service.intake.decoder import NO_CURRENT_FOLDER
from service.schemas import Report
from service.segmentation.options import Options

MAX_SECONDS = 120
HASH_DIGITS = 12


@dataclass(frozen=True)
class DicomWriter:
    """Writes label maps of DICOM studies as DICOM."""

    max_unpacked_mib: int

    def write(
        self, folder: Path, options: Options, modality: str, labels: NDArray[Any], report: Report
    ) -> dict[str, bytes]:
        """The objects about a label map (X, Y, Z) on the grid of a modality of the upload in a folder, by file name.

        Raises DecodingError.
        """
        request = {
            "folder": str(folder),
            "max_unpacked_mib": self.max_unpacked_mib,
            "series": options.series,
            "allow_missing": options.allow_missing,
            "modality": modality,
            "label_numbers": report.labels,
            "regions": {
                region: {
                    "volume_ml": found.volume_ml,
                    "predicted_dice": found.quality.predicted_dice if found.quality else None,
                }
                for region, found in report.regions.items()
            },
            "review_reasons": report.review_reasons,
            "weights": f"{report.model.name} {report.model.version} {report.model.sha256[:HASH_DIGITS]}",
        }
        body = BytesIO(self._run(json.dumps(request).encode() + b"\n" + labels.tobytes(order="F")))
        with ZipFile(body) as archive:
            return {name: archive.read(name) for name in archive.namelist()}

    def _run(self, request: bytes) -> bytes:
        try:
            done = subprocess.run(
                [sys.executable, *NO_CURRENT_FOLDER, "-m", "service.intake.dicom_writer_process"],
                input=request,
                capture_output=True,
                check=False,
                timeout=MAX_SECONDS,
                start_new_session=True,  # signals from a terminal are meant for the service
            )
        except subprocess.TimeoutExpired as error:
            raise DecodingError(f"Writing DICOM took longer than {MAX_SECONDS} s.") from error
        if done.returncode:
            *_, reason = [f"exit status {done.returncode}", *done.stderr.decode(errors="replace").splitlines()]
            raise DecodingError(f"Writing DICOM failed: {reason}.")
        return done.stdout
