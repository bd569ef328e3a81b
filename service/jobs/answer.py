"""The answer to a case: its mask and its report."""

from dataclasses import dataclass

MASK_NAME, REPORT_NAME = "segmentation.nii.gz", "report.json"


@dataclass(frozen=True)
class Answer:
    """The mask as .nii.gz, and the report as JSON."""

    mask: bytes
    report: bytes
