"""The result of a job: its label map and its report."""

from dataclasses import dataclass

LABEL_MAP_NAME, REPORT_NAME = "segmentation.nii.gz", "report.json"


@dataclass(frozen=True)
class JobResult:
    """The label map as .nii.gz, and the report as JSON."""

    label_map: bytes
    report: bytes
