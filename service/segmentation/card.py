"""The card of a checkpoint: what the network is, where it came from and how it is used."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from service.segmentation.case import Modality
from service.segmentation.errors import WeightsError
from service.segmentation.labels import Region
from service.segmentation.normalise import NORMALISATION

CHANNELS = tuple(str(modality) for modality in Modality)


@dataclass(frozen=True)
class Card:
    """What a checkpoint is: everything needed to rebuild it, and to judge it."""

    name: str
    version: str
    regions: tuple[Region, ...]  # one: two softmax channels; all three: three sigmoid channels (the paper's 3C)
    width: int
    depth: int
    licence: str
    intended_use: str
    attribution: str
    channels: tuple[str, ...] = CHANNELS
    slice_offsets: tuple[int, ...] = (0,)  # slices that the network sees, relative to the one that it segments
    normalisation: str = NORMALISATION
    mirrored: bool = False  # whether each slice is seen mirrored too, and the two answers averaged
    smallest_ml: Mapping[str, float] = field(default_factory=dict)  # by region: what is smaller is called absent
    training: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, Any] = field(default_factory=dict)
    sha256: str = ""  # of the safetensors file
    quantised_sha256: str = ""  # of the same network in eight-bit integers, if it is there

    @property
    def in_channels(self) -> int:
        """The modalities of every slice that the network sees."""
        return len(self.channels) * len(self.slice_offsets)

    @property
    def stem(self) -> str:
        """The name of its files, less the ending."""
        return "-".join(self.regions).lower()

    @property
    def out_channels(self) -> int:
        """Background and foreground for one region, else one channel per region (section III.B)."""
        return 2 if len(self.regions) == 1 else len(self.regions)


def read_card(path: Path) -> Card:
    """The card in a JSON file. Raises WeightsError where it does not fit this code."""
    try:
        entries = json.loads(path.read_text())
        entries["regions"] = tuple(Region(region) for region in entries["regions"])
        entries["channels"] = tuple(entries["channels"])
        entries["slice_offsets"] = tuple(entries.get("slice_offsets", (0,)))
        card = Card(**entries)
    except (ValueError, KeyError, TypeError) as error:
        expected = ", ".join(entry.name for entry in fields(Card))
        raise WeightsError(f"{path.stem}: expected a card with {expected}; {error}") from error
    if len(card.regions) not in (1, len(Region)):
        raise WeightsError(f"{path.stem}: expected one region or all three, found {', '.join(card.regions)}.")
    if card.channels != CHANNELS:
        raise WeightsError(f"{path.stem}: expected channels {CHANNELS}, found {card.channels}.")
    if card.normalisation != NORMALISATION:
        raise WeightsError(f"{path.stem}: expected normalisation {NORMALISATION!r}, found {card.normalisation!r}.")
    return card


def save_card(folder: Path, card: Card) -> None:
    """Write a card beside its weights, which stay as they are."""
    (folder / f"{card.stem}.json").write_text(json.dumps(asdict(card), indent=2) + "\n")
