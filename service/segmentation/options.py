"""What the caller of the pipeline can choose."""

from dataclasses import dataclass

from service.imaging.labels import EnhancingLabel


@dataclass(frozen=True)
class Options:
    """Options of one case."""

    enhancing: EnhancingLabel = EnhancingLabel.BRATS_2022  # label number in the label map
    with_probabilities: bool = False  # whether to return the probability maps as well
    trust_names: bool = False  # whether to segment a case although its images certainly have wrong names
    allow_missing: bool = False  # whether to segment a case without all four modalities


DEFAULT_OPTIONS = Options()
