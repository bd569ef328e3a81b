"""Networks that together predict every region, and how they run: on which device, in which number format."""

import hashlib
import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace

import torch
from torch import nn

from service.segmentation.card import Card
from service.segmentation.errors import WeightsError
from service.segmentation.network import fastest_precision, folded, place
from service.segmentation.quantised import QuantisedNetwork, QuantisedWeights

SLICE_BATCH = 10  # slices that a network takes at once: the paper's batch (section III.C)


@dataclass(frozen=True)
class Checkpoint:
    """A network in evaluation mode, its card, and the same network in eight-bit integers if it is there."""

    network: nn.Module
    card: Card
    quantised: QuantisedWeights | None = None


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
            (c.card.sha256, c.card.quantised_sha256, c.card.slice_offsets, c.card.mirrored, c.card.smallest_ml)
            for c in sorted(self.checkpoints, key=lambda checkpoint: checkpoint.card.stem)
        ]
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()

    @property
    def input_dtype(self) -> torch.dtype:
        """What the networks take slices in: integers are made inside a quantised network."""
        return torch.float32 if self.precision == torch.int8 else self.precision

    def optimised(self, precision: torch.dtype | None = None) -> "Model":
        """The model made ready to answer fast: folded, and in the precision given or the fastest of its device.

        Its weights are no longer those of the files: it can be neither trained nor saved.
        Raises WeightsError for int8 where networks are not there quantised, on a card, and without OpenVINO.
        """
        quantised = all(checkpoint.quantised for checkpoint in self.checkpoints)
        precision = precision or fastest_precision(self.device, quantised=quantised)
        if precision == torch.int8:
            return self._quantised()
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
        return self._with_networks(cpu, fastest_precision(cpu, quantised=False), deepcopy)

    def _quantised(self) -> "Model":
        if self.device.type != "cpu":
            raise WeightsError(f"Precision int8: expected a CPU, found {self.device}.")
        checkpoints = tuple(
            replace(checkpoint, network=QuantisedNetwork(_quantised_weights(checkpoint)))
            for checkpoint in self.checkpoints
        )
        return replace(self, checkpoints=checkpoints, precision=torch.int8)

    def _with_networks(
        self, device: torch.device, precision: torch.dtype, change: Callable[[nn.Module], nn.Module]
    ) -> "Model":
        checkpoints = tuple(
            replace(checkpoint, network=place(change(checkpoint.network).to(precision), device))
            for checkpoint in self.checkpoints
        )
        return Model(checkpoints, device, precision)


def _quantised_weights(checkpoint: Checkpoint) -> QuantisedWeights:
    if checkpoint.quantised is None:
        raise WeightsError(f"{checkpoint.card.stem}: expected weights quantised to int8, found none.")
    return checkpoint.quantised
