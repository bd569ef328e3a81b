"""Trained networks in eight-bit integers as well, calibrated on training cases: for CPUs that are fast in them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from model_training.prepare import CachedCase
from service.segmentation.model import Checkpoint, Model
from service.segmentation.predict import axial_slices, indices_to_run, predict_masks
from service.segmentation.quantised import QuantisedWeights, load_openvino
from service.segmentation.weights import save_quantised

SLICES_A_CASE = 12
MOST_SLICES = 300  # of all cases: more cost minutes and change nothing
SEED = 0


def quantise(folder: Path, model: Model, cases: Sequence[CachedCase]) -> None:
    """Write each network of a model's folder in eight-bit integers beside its weights, and the hash into its card.

    Ranges and biases are fitted to slices of training cases that the network would be run on in serving. Raises
    ValueError where there are too few.
    """
    folded = model.optimised(torch.float32)
    seen: list[list[NDArray[np.float32]]] = [[] for _ in model.checkpoints]
    random = np.random.default_rng(SEED)
    for case in tqdm(cases, desc="slices", unit="case"):
        for slices, found in zip(seen, _slices_of_networks(folded, case, random), strict=True):
            slices += found
    for checkpoint, slices in zip(folded.checkpoints, seen, strict=True):
        if not slices:
            raise ValueError(f"{checkpoint.card.stem}: expected training slices that it is run on, found none")
        chosen = [slices[place] for place in random.permutation(len(slices))[:MOST_SLICES]]
        save_quantised(folder, checkpoint, _quantised(checkpoint, chosen))


def _slices_of_networks(
    model: Model, case: CachedCase, random: np.random.Generator
) -> Iterator[list[NDArray[np.float32]]]:
    """For each network, some batches (B, C, H, W) of the slices that it is run on."""
    volumes = case.volumes  # read and converted anew at every access
    slices, masks = axial_slices(model, volumes), predict_masks(model, volumes).masks
    outer = None
    for checkpoint in model.checkpoints:
        indices = indices_to_run(slices, outer)
        chosen = np.sort(random.choice(indices, min(SLICES_A_CASE, len(indices)), replace=False))
        yield [
            slices.take(members, window, checkpoint.card.slice_offsets).contiguous().numpy()
            for members, window in slices.blocks(chosen)
        ]
        outer = masks[checkpoint.card.regions[-1]]


def _quantised(checkpoint: Checkpoint, slices: list[NDArray[np.float32]]) -> QuantisedWeights:
    openvino = load_openvino()
    import nncf  # takes seconds, and no other command needs it

    channels = checkpoint.card.in_channels
    network = openvino.convert_model(
        checkpoint.network, example_input=torch.from_numpy(slices[0]), input=[-1, channels, -1, -1]
    )
    # The slow bias correction: the fast one loses four times as much Dice.
    quantised = nncf.quantize(network, nncf.Dataset(slices), subset_size=len(slices), fast_bias_correction=False)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "network.xml"
        openvino.save_model(quantised, path, compress_to_fp16=False)
        return QuantisedWeights(path.read_bytes(), path.with_suffix(".bin").read_bytes())
