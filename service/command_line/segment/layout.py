"""Where results are written: a folder for each case, or a BIDS derivative dataset."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glioserve_client import Result
from glioserve_client.result import LABEL_MAP_NAME, REPORT_NAME
from service.command_line.segment.arguments import UsageError

TABLE_NAME = "volumes.csv"
RECORDS = ".glioserve"  # folder of the keys of the cases that are done; hidden, as BIDS allows no other files
BIDS_NAMES = {LABEL_MAP_NAME: "dseg.nii.gz", REPORT_NAME: "dseg.json"}
BIDS_DESCRIPTION = {
    "Name": "Brain tumour segmentations",
    "BIDSVersion": "1.10.0",
    "DatasetType": "derivative",
    "GeneratedBy": [{"Name": "GlioServe"}],
}


@dataclass(frozen=True)
class Layout:
    """A folder of results."""

    out: Path
    is_bids: bool

    def prepare(self, names: Iterable[str]) -> None:
        """Create the folder for cases with these names. Raises UsageError or OSError."""
        if self.is_bids:
            _check_labels(names)
        (self.out / RECORDS).mkdir(parents=True, exist_ok=True)
        if self.is_bids:
            (self.out / "dataset_description.json").write_text(json.dumps(BIDS_DESCRIPTION, indent=2) + "\n")
            (self.out / ".bidsignore").write_text(f"{TABLE_NAME}\n")

    def path_of(self, case: str, file: str) -> Path:
        """Where a file of a case's result is."""
        if not self.is_bids:
            return self.out / case / file
        subject = f"sub-{bids_label(case)}"
        return self.out / subject / "anat" / f"{subject}_{BIDS_NAMES[file]}"

    def read_report(self, case: str, key: str) -> dict[str, Any] | None:
        """The report of a case, if its results are there and come from the same files with the same options."""
        record, report = self._record_of(case), self.path_of(case, REPORT_NAME)
        if not all(path.is_file() for path in (record, report, self.path_of(case, LABEL_MAP_NAME))):
            return None
        found: dict[str, Any] = json.loads(report.read_bytes())
        return found if record.read_text().strip() == key else None

    def write(self, case: str, result: Result, key: str) -> None:
        """Write the result of a case. What makes it count as done is written last. Raises OSError."""
        self._record_of(case).unlink(missing_ok=True)
        _write_all({self.path_of(case, name): content for name, content in result.files.items()})
        self._record_of(case).write_text(key + "\n")

    def _record_of(self, case: str) -> Path:
        return self.out / RECORDS / f"{case}.key"


def bids_label(case: str) -> str:
    """The name of a case as the label of a subject, which has letters and digits only."""
    return re.sub(r"[^0-9A-Za-z]", "", case.removeprefix("sub-"))


def _check_labels(names: Iterable[str]) -> None:
    """Raise UsageError unless every case has a label of its own."""
    found: dict[str, str] = {}
    for name in names:
        label = bids_label(name)
        if not label:
            raise UsageError(f"--bids: expected names with letters or digits of ASCII, found {name}")
        if other := found.get(label):
            raise UsageError(f"--bids: expected names with different letters and digits, found {other} and {name}")
        found[label] = name


def _write_all(files: Mapping[Path, bytes]) -> None:
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
