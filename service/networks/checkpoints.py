"""Checkpoint files: safetensors weights, a JSON model card and, optionally, the network quantised to INT8."""

import hashlib
from dataclasses import replace
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError

from service.imaging.labels import Region
from service.networks.errors import WeightsError
from service.networks.int8 import Int8Weights
from service.networks.model import Checkpoint, Model
from service.networks.model_card import ModelCard, read_card, save_card
from service.networks.precision import place
from service.networks.unet import UNet


def load_model(folder: Path, device: torch.device, *, with_int8: bool = True) -> Model:
    """Load every checkpoint of a folder onto one device; without `with_int8` the INT8 files may be missing.

    Raises WeightsError if a card or file is missing, damaged or does not fit this code, if a hash differs from
    the card's, and if the checkpoints do not cover each region exactly once under one name and version.
    """
    loaded = [_load_checkpoint(path, device) for path in folder.glob("*.json")]
    if with_int8:
        loaded = [replace(each, int8=_read_int8(folder, each.card)) for each in loaded]
    checkpoints = tuple(sorted(loaded, key=lambda checkpoint: list(Region).index(checkpoint.card.regions[0])))
    covered = sorted(region for checkpoint in checkpoints for region in checkpoint.card.regions)
    if covered != sorted(Region):
        raise WeightsError(f"Weights: expected each of WT, TC, ET once, found {', '.join(covered) or 'no model card'}.")
    if len({(checkpoint.card.name, checkpoint.card.version) for checkpoint in checkpoints}) > 1:
        raise WeightsError("Weights: expected one name and version on all model cards, found several.")
    return Model(checkpoints, device)


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write `<regions>.safetensors` and `<regions>.json`, adding the weights' hash to the card."""
    tensors = checkpoint.network.state_dict()
    data = safetensors.torch.save({name: tensor.contiguous() for name, tensor in tensors.items()})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{checkpoint.card.stem}.safetensors").write_bytes(data)
    save_card(folder, replace(checkpoint.card, sha256=hashlib.sha256(data).hexdigest()))


def save_int8_weights(folder: Path, checkpoint: Checkpoint, weights: Int8Weights) -> None:
    """Write a network's INT8 version beside its weights, and its hash into the card."""
    graph, constants = _int8_paths(folder, checkpoint.card.stem)
    graph.write_bytes(weights.graph)
    constants.write_bytes(weights.constants)
    save_card(folder, replace(checkpoint.card, int8_sha256=weights.sha256))


def _load_checkpoint(card_path: Path, device: torch.device) -> Checkpoint:
    name = card_path.stem
    card = read_card(card_path)
    try:
        data = card_path.with_suffix(".safetensors").read_bytes()
    except OSError as error:
        raise WeightsError(f"{name}: expected a safetensors file beside the model card, found none.") from error
    if (found := hashlib.sha256(data).hexdigest()) != card.sha256:
        raise WeightsError(f"{name}: expected weights of SHA-256 {card.sha256}, found {found}.")
    try:
        network = UNet(card.out_channels, card.width, card.depth, card.in_channels)
        network.load_state_dict(safetensors.torch.load(data))
    except (RuntimeError, TypeError, SafetensorError) as error:
        raise WeightsError(f"{name}: expected a U-Net of width {card.width}, depth {card.depth}; {error}") from error
    return Checkpoint(place(network.eval(), device), card)


def _read_int8(folder: Path, card: ModelCard) -> Int8Weights | None:
    if not card.int8_sha256:
        return None
    graph, constants = _int8_paths(folder, card.stem)
    try:
        weights = Int8Weights(graph.read_bytes(), constants.read_bytes())
    except OSError as error:
        raise WeightsError(
            f"{card.stem}: expected {graph.name} and {constants.name}, which the model card names, found one missing. "
            "`model_training quantise` writes them again; precisions other than auto and int8 do not need them."
        ) from error
    if weights.sha256 != card.int8_sha256:
        raise WeightsError(f"{card.stem}: expected INT8 weights of SHA-256 {card.int8_sha256}, found {weights.sha256}.")
    return weights


def _int8_paths(folder: Path, stem: str) -> tuple[Path, Path]:
    return folder / f"{stem}.int8.xml", folder / f"{stem}.int8.bin"
