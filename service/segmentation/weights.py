"""Checkpoints: a safetensors file and a JSON card that says what the network is and where it came from."""

import hashlib
import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

from service.segmentation.case import Modality
from service.segmentation.errors import WeightsError
from service.segmentation.labels import Region
from service.segmentation.network import UNet, fastest_precision, folded, place
from service.segmentation.normalise import NORMALISATION

SLICE_BATCH = 10  # slices that a network takes at once: the paper's batch (section III.C)
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


@dataclass(frozen=True)
class Checkpoint:
    """A network in evaluation mode, and its card."""

    network: nn.Module
    card: Card


@dataclass(frozen=True)
class Model:
    """Checkpoints that together predict each region once, from the outermost inwards, and how they run."""

    checkpoints: tuple[Checkpoint, ...]
    device: torch.device
    precision: torch.dtype = torch.float32
    slice_batch: int = SLICE_BATCH

    @property
    def name(self) -> str:
        """The name that the cards share."""
        return self.checkpoints[0].card.name

    @property
    def version(self) -> str:
        """The version that the cards share."""
        return self.checkpoints[0].card.version

    @property
    def sha256(self) -> str:
        """One hash over all that decides the masks: the weights of all checkpoints, and how they are used."""
        decisive = [
            (c.card.sha256, c.card.slice_offsets, c.card.mirrored, c.card.smallest_ml)
            for c in sorted(self.checkpoints, key=lambda checkpoint: checkpoint.card.stem)
        ]
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()

    def optimised(self, precision: torch.dtype | None = None) -> "Model":
        """The model made ready to answer fast: folded, and in the precision given or the fastest of its device.

        Its weights are no longer those of the files: it can be neither trained nor saved.
        """
        precision = precision or fastest_precision(self.device)
        return self._with_networks(self.device, precision, folded)

    def with_less_memory(self) -> "Model":
        """The same model with half the slice batch or, where that is one slice, on the CPU.

        Raises torch.OutOfMemoryError where it is there already.
        """
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if self.slice_batch > 1:
            return replace(self, slice_batch=self.slice_batch // 2)
        cpu = torch.device("cpu")
        if self.device == cpu:
            raise torch.OutOfMemoryError("Expected room for one slice on the CPU, found none.")
        return self._with_networks(cpu, fastest_precision(cpu), deepcopy)

    def _with_networks(
        self, device: torch.device, precision: torch.dtype, change: Callable[[nn.Module], nn.Module]
    ) -> "Model":
        checkpoints = tuple(
            Checkpoint(place(change(checkpoint.network).to(precision), device), checkpoint.card)
            for checkpoint in self.checkpoints
        )
        return Model(checkpoints, device, precision)


def load_model(folder: Path, device: torch.device) -> Model:
    """Every checkpoint of a folder, on one device.

    Raises WeightsError where a card or file is missing, damaged or does not fit this code, where the bytes differ from
    the card's hash, and where the checkpoints do not cover each region exactly once under one name and version.
    """
    loaded = (_load_checkpoint(path, device) for path in folder.glob("*.json"))
    checkpoints = tuple(sorted(loaded, key=lambda checkpoint: list(Region).index(checkpoint.card.regions[0])))
    covered = sorted(region for checkpoint in checkpoints for region in checkpoint.card.regions)
    if covered != sorted(Region):
        raise WeightsError(f"Weights: expected each of WT, TC, ET once, found {', '.join(covered) or 'no card'}.")
    if len({(checkpoint.card.name, checkpoint.card.version) for checkpoint in checkpoints}) > 1:
        raise WeightsError("Weights: expected one name and version on all cards, found several.")
    return Model(checkpoints, device)


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write weights and card, completed with the weights' hash, as `<regions>.safetensors` and `<regions>.json`."""
    tensors = checkpoint.network.state_dict()
    data = safetensors.torch.save({name: tensor.contiguous() for name, tensor in tensors.items()})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{checkpoint.card.stem}.safetensors").write_bytes(data)
    save_card(folder, replace(checkpoint.card, sha256=hashlib.sha256(data).hexdigest()))


def save_card(folder: Path, card: Card) -> None:
    """Write a card beside its weights, which stay as they are."""
    (folder / f"{card.stem}.json").write_text(json.dumps(asdict(card), indent=2) + "\n")


def _load_checkpoint(card_path: Path, device: torch.device) -> Checkpoint:
    name = card_path.stem
    card = _read_card(card_path)
    try:
        data = card_path.with_suffix(".safetensors").read_bytes()
    except OSError as error:
        raise WeightsError(f"{name}: expected a safetensors file beside the card, found none.") from error
    if (found := hashlib.sha256(data).hexdigest()) != card.sha256:
        raise WeightsError(f"{name}: expected weights of SHA-256 {card.sha256}, found {found}.")
    try:
        network = UNet(card.out_channels, card.width, card.depth, card.in_channels)
        network.load_state_dict(safetensors.torch.load(data))
    except (RuntimeError, TypeError, SafetensorError) as error:
        raise WeightsError(f"{name}: expected a U-Net of width {card.width}, depth {card.depth}; {error}") from error
    return Checkpoint(place(network.eval(), device), card)


def _read_card(path: Path) -> Card:
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
