"""The result of a job: its files by name."""

from collections.abc import Mapping
from dataclasses import dataclass

from service.imaging.labels import Region

LABEL_MAP_NAME, REPORT_NAME = "segmentation.nii.gz", "report.json"
PROBABILITY_NAMES: Mapping[Region, str] = {region: f"probability_{region.lower()}.nii.gz" for region in Region}


@dataclass(frozen=True)
class JobResult:
    """The label map, the report and what else the client asked for."""

    files: Mapping[str, bytes]

    @property
    def label_map(self) -> bytes:
        """The label map as .nii.gz."""
        return self.files[LABEL_MAP_NAME]

    @property
    def report(self) -> bytes:
        """The report as JSON."""
        return self.files[REPORT_NAME]
