"""Checkpoints on disk: a safetensors file, a JSON card and, if it was made, the same network in eight-bit integers."""

import hashlib
from dataclasses import replace
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError

from service.segmentation.card import Card, read_card, save_card
from service.segmentation.errors import WeightsError
from service.segmentation.labels import Region
from service.segmentation.model import Checkpoint, Model
from service.segmentation.network import UNet, place
from service.segmentation.quantised import QuantisedWeights


def load_model(folder: Path, device: torch.device, *, quantised: bool = True) -> Model:
    """Every checkpoint of a folder, on one device; where the quantised networks are not wanted they may be missing.

    Raises WeightsError where a card or file is missing, damaged or does not fit this code, where the bytes differ from
    the card's hash, and where the checkpoints do not cover each region exactly once under one name and version.
    """
    loaded = [_load_checkpoint(path, device) for path in folder.glob("*.json")]
    if quantised:
        loaded = [replace(each, quantised=_read_quantised(folder, each.card)) for each in loaded]
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


def save_quantised(folder: Path, checkpoint: Checkpoint, weights: QuantisedWeights) -> None:
    """Write a network in eight-bit integers beside its weights, and its hash into the card."""
    graph, constants = _quantised_paths(folder, checkpoint.card.stem)
    graph.write_bytes(weights.graph)
    constants.write_bytes(weights.constants)
    save_card(folder, replace(checkpoint.card, quantised_sha256=weights.sha256))


def _load_checkpoint(card_path: Path, device: torch.device) -> Checkpoint:
    name = card_path.stem
    card = read_card(card_path)
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


def _read_quantised(folder: Path, card: Card) -> QuantisedWeights | None:
    if not card.quantised_sha256:
        return None
    graph, constants = _quantised_paths(folder, card.stem)
    try:
        weights = QuantisedWeights(graph.read_bytes(), constants.read_bytes())
    except OSError as error:
        raise WeightsError(
            f"{card.stem}: expected {graph.name} and {constants.name}, which its card names, found one missing; "
            "`model_training quantise` makes them anew, and precisions other than auto and int8 do without."
        ) from error
    if weights.sha256 != card.quantised_sha256:
        raise WeightsError(
            f"{card.stem}: expected quantised weights of SHA-256 {card.quantised_sha256}, found {weights.sha256}."
        )
    return weights


def _quantised_paths(folder: Path, stem: str) -> tuple[Path, Path]:
    return folder / f"{stem}.int8.xml", folder / f"{stem}.int8.bin"
