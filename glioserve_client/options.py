"""What the caller can ask for: the query parameters of POST /segment."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Literal


@dataclass(frozen=True)
class Options:
    """Options of one case; docs/api.md describes each under the same name."""

    enhancing_label: Literal[3, 4] = 4  # label number of the enhancing tumour
    probabilities: bool = False  # also return a probability map of each region
    trust_names: bool = False  # segment a case although its images seem to have wrong names
    allow_missing: bool = False  # segment a case without all four modalities
    prepare: Literal["auto", "always", "never"] = "auto"  # which cases to prepare
    grid: Literal["t1", "t1gd", "t2", "flair", "working"] | None = None  # of the label map; None: that of T1Gd
    prepared: bool = False  # also return the prepared images, the ground truth, the brain mask and the transforms
    series: Mapping[str, int] = field(default_factory=dict)  # SeriesNumbers by modality, such as {"t1gd": 7}
    output: Literal["nifti", "dicom"] = "nifti"  # dicom: also return the result as DICOM objects

    @property
    def query(self) -> dict[str, str]:
        """The query parameters; those with default values are left out."""
        given = {option.name: getattr(self, option.name) for option in fields(self)}
        return {name: _text(value) for name, value in given.items() if value != getattr(DEFAULT_OPTIONS, name)}


DEFAULT_OPTIONS = Options()


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return ",".join(f"{name}:{number}" for name, number in sorted(value.items()))
    return str(value)
