"""The model card of a checkpoint: what the network is, where it comes from and how it is used."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from service.imaging.case import Modality
from service.imaging.labels import Region
from service.imaging.normalise import NORMALISATION
from service.networks.errors import WeightsError

CHANNELS = tuple(str(modality) for modality in Modality)


@dataclass(frozen=True)
class QualityFit:
    """How the Dice of a region is predicted, as fitted on cases that the networks were not trained on.

    logit(predicted Dice) = intercept + slope x logit(confident fraction); see `segmentation.quality`.
    """

    intercept: float
    slope: float
    low_residual: float  # 10th percentile of the error, as a logit
    high_residual: float  # 90th percentile
    volume_ml: tuple[float, float]  # smallest and largest predicted volume of those cases
    cases: int


@dataclass(frozen=True)
class MeasuredDice:
    """The Dice of a region that was measured on cases that the networks were not trained on."""

    mean: float
    low: float  # 10th percentile
    high: float  # 90th percentile
    cases: int


@dataclass(frozen=True)
class ModelCard:
    """Everything needed to rebuild a network, and to judge it."""

    name: str
    version: str
    regions: tuple[Region, ...]  # one: two softmax channels; all three: three sigmoid channels (the paper's 3C)
    width: int
    depth: int
    licence: str
    intended_use: str
    attribution: str
    channels: tuple[str, ...] = CHANNELS
    slice_offsets: tuple[int, ...] = (0,)  # input slices relative to the one that is segmented
    normalisation: str = NORMALISATION
    flip_tta: bool = False  # flip test-time augmentation: average with the prediction on the mirrored slice
    min_confident_fraction: Mapping[str, float] = field(default_factory=dict)  # by region; below it, the mask is empty
    quality: Mapping[str, QualityFit] = field(default_factory=dict)  # by region; empty: no quality estimate
    max_missing: int = 0  # so many modalities of a case may be missing; their channels are zero then
    dice_without: Mapping[str, Mapping[str, MeasuredDice]] = field(default_factory=dict)  # by region; see missing_key
    training: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, Any] = field(default_factory=dict)
    sha256: str = ""  # of the safetensors file
    int8_sha256: str = ""  # of the INT8 version of the network, if there is one

    @property
    def in_channels(self) -> int:
        """Number of input channels: all modalities of every input slice."""
        return len(self.channels) * len(self.slice_offsets)

    @property
    def out_channels(self) -> int:
        """Background and foreground for one region, else one channel per region (section III.B)."""
        return 2 if len(self.regions) == 1 else len(self.regions)

    @property
    def stem(self) -> str:
        """Name of the checkpoint's files, without extension."""
        return "-".join(self.regions).lower()


def missing_key(missing: Iterable[str]) -> str:
    """The key of a set of missing modalities in `ModelCard.dice_without`."""
    return ", ".join(missing)


def read_card(path: Path) -> ModelCard:
    """Read a model card from a JSON file. Raises WeightsError if it does not fit this code."""
    try:
        entries = json.loads(path.read_text())
        entries["regions"] = tuple(Region(region) for region in entries["regions"])
        entries["channels"] = tuple(entries["channels"])
        entries["slice_offsets"] = tuple(entries.get("slice_offsets", (0,)))
        entries["quality"] = {region: _quality_fit(fit) for region, fit in entries.get("quality", {}).items()}
        entries["dice_without"] = {
            region: {missing: MeasuredDice(**dice) for missing, dice in measured.items()}
            for region, measured in entries.get("dice_without", {}).items()
        }
        card = ModelCard(**entries)
    except (ValueError, KeyError, TypeError) as error:
        expected = ", ".join(entry.name for entry in fields(ModelCard))
        raise WeightsError(f"{path.stem}: expected a model card with {expected}; {error}") from error
    if len(card.regions) not in (1, len(Region)):
        raise WeightsError(f"{path.stem}: expected one region or all three, found {', '.join(card.regions)}.")
    if card.channels != CHANNELS:
        raise WeightsError(f"{path.stem}: expected channels {CHANNELS}, found {card.channels}.")
    if card.normalisation != NORMALISATION:
        raise WeightsError(f"{path.stem}: expected normalisation {NORMALISATION!r}, found {card.normalisation!r}.")
    return card


def save_card(folder: Path, card: ModelCard) -> None:
    """Write a model card beside its weights, which stay unchanged."""
    (folder / f"{card.stem}.json").write_text(json.dumps(asdict(card), indent=2) + "\n")


def _quality_fit(entries: Mapping[str, Any]) -> QualityFit:
    low, high = entries["volume_ml"]
    return QualityFit(**{**entries, "volume_ml": (low, high)})
