"""What the caller of the pipeline can choose."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from service.imaging.case import Modality
from service.imaging.labels import EnhancingLabel
from service.preparation.raw import Prepare


class LabelGrid(StrEnum):
    """The grid of the label map: that of a modality as it was sent, or the one that the networks work on."""

    T1 = "t1"
    T1GD = "t1gd"
    T2 = "t2"
    FLAIR = "flair"
    WORKING = "working"


class Output(StrEnum):
    """The format of the label map."""

    NIFTI = "nifti"
    DICOM = "dicom"  # in addition to NIfTI


@dataclass(frozen=True)
class Options:
    """Options of one case."""

    enhancing: EnhancingLabel = EnhancingLabel.BRATS_2022  # label number in the label map
    with_probabilities: bool = False  # whether to return the probability maps as well
    trust_names: bool = False  # whether to segment a case although its images certainly have wrong names
    allow_missing: bool = False  # whether to segment a case without all four modalities
    prepare: Prepare = Prepare.AUTO  # whether to register the series and to outline the brain
    grid: LabelGrid | None = None  # None: that of the reference
    with_prepared: bool = False  # whether to return the prepared images as well
    series: Mapping[Modality, int] = field(default_factory=dict)  # SeriesNumbers for modalities, in DICOM studies
    output: Output = Output.NIFTI


DEFAULT_OPTIONS = Options()
