"""The networks that together predict every region, with their device and data type."""

import hashlib
import json
from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass, replace

import torch
from torch import nn

from service.imaging.case import Modality
from service.imaging.labels import Region
from service.networks.errors import WeightsError
from service.networks.int8 import Int8Network, Int8Weights
from service.networks.modality_network import ModalityNetwork
from service.networks.model_card import MeasuredDice, ModelCard, QualityFit, missing_key
from service.networks.precision import fastest_precision, fold_batch_norm, place

DEFAULT_BATCH_SIZE = 10  # slices per batch, as in the paper (section III.C)


@dataclass(frozen=True)
class Checkpoint:
    """A network in evaluation mode, its model card and, if available, its INT8 version."""

    network: nn.Module
    card: ModelCard
    int8: Int8Weights | None = None


@dataclass(frozen=True)
class Model:
    """Checkpoints that together predict each region once, from the outermost inwards."""

    checkpoints: tuple[Checkpoint, ...]
    device: torch.device
    precision: torch.dtype = torch.float32
    batch_size: int = DEFAULT_BATCH_SIZE
    modality_network: ModalityNetwork | None = None  # checks the names of the images; None: the names are trusted

    @property
    def name(self) -> str:
        """The name that the model cards share."""
        return self.checkpoints[0].card.name

    @property
    def version(self) -> str:
        """The version that the model cards share."""
        return self.checkpoints[0].card.version

    @property
    def sha256(self) -> str:
        """One hash over the weights of all checkpoints and the settings on their model cards that affect the masks."""
        decisive = [
            (
                c.card.sha256,
                c.card.int8_sha256,
                c.card.slice_offsets,
                c.card.flip_tta,
                c.card.min_confident_fraction,
            )
            for c in sorted(self.checkpoints, key=lambda checkpoint: checkpoint.card.stem)
        ]
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()

    @property
    def quality(self) -> dict[Region, QualityFit]:
        """The quality fits on all model cards, by region."""
        return {
            Region(region): fit for checkpoint in self.checkpoints for region, fit in checkpoint.card.quality.items()
        }

    @property
    def max_missing(self) -> int:
        """So many modalities of a case may be missing."""
        return min(checkpoint.card.max_missing for checkpoint in self.checkpoints)

    def dice_without(self, missing: Iterable[Modality]) -> dict[Region, MeasuredDice]:
        """The Dice measured in cases without these modalities, by region; empty if it was not measured."""
        key = missing_key(missing)
        return {
            Region(region): measured[key]
            for checkpoint in self.checkpoints
            for region, measured in checkpoint.card.dice_without.items()
            if key in measured
        }

    @property
    def input_dtype(self) -> torch.dtype:
        """Data type of the input slices; an INT8 network quantises them itself."""
        return torch.float32 if self.precision == torch.int8 else self.precision

    def optimised(self, precision: torch.dtype | None = None) -> "Model":
        """Prepare the model for fast inference: batch norm folded, in the given precision or the device's fastest.

        The result can be neither trained nor saved, as its weights differ from those of the files.
        For int8, raises WeightsError if a network has no INT8 version, the device is a GPU, or OpenVINO is missing.
        """
        has_int8 = all(checkpoint.int8 for checkpoint in self.checkpoints)
        precision = precision or fastest_precision(self.device, has_int8=has_int8)
        if precision == torch.int8:
            return self._in_int8()
        return self._with_networks(self.device, precision, fold_batch_norm)

    def with_less_memory(self) -> "Model":
        """The same model with half the batch size or, if the batch size is 1, on the CPU with the default batch size.

        Raises torch.OutOfMemoryError if the batch size is 1 and the model is already on the CPU.
        """
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if self.batch_size > 1:
            return replace(self, batch_size=self.batch_size // 2)
        cpu = torch.device("cpu")
        if self.device == cpu:
            raise torch.OutOfMemoryError("Expected memory for one slice on the CPU, found none.")
        return self._with_networks(cpu, fastest_precision(cpu, has_int8=False), deepcopy)

    def _in_int8(self) -> "Model":
        if self.device.type != "cpu":
            raise WeightsError(f"Precision int8: expected a CPU, found {self.device}.")
        checkpoints = tuple(
            replace(checkpoint, network=Int8Network(_int8_weights(checkpoint))) for checkpoint in self.checkpoints
        )
        return replace(self, checkpoints=checkpoints, precision=torch.int8)

    def _with_networks(
        self, device: torch.device, precision: torch.dtype, transform: Callable[[nn.Module], nn.Module]
    ) -> "Model":
        checkpoints = tuple(
            replace(checkpoint, network=place(transform(checkpoint.network).to(precision), device))
            for checkpoint in self.checkpoints
        )
        return replace(self, checkpoints=checkpoints, device=device, precision=precision, batch_size=DEFAULT_BATCH_SIZE)


def _int8_weights(checkpoint: Checkpoint) -> Int8Weights:
    if checkpoint.int8 is None:
        raise WeightsError(f"{checkpoint.card.stem}: expected weights quantised to int8, found none.")
    return checkpoint.int8
