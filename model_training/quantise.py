"""INT8 versions of trained networks, calibrated on training cases, for CPUs with fast INT8 instructions."""

from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from model_training.data.prepare import CachedCase
from service.networks.checkpoints import save_int8_weights
from service.networks.int8 import Int8Weights, load_openvino
from service.networks.model import Checkpoint, Model
from service.segmentation.fuse import slices_with
from service.segmentation.predict import axial_slices, predict_masks

SLICES_PER_CASE = 12
MAX_BATCHES = 300  # batches of slices, of all cases together: more take minutes and change nothing
SEED = 0


def quantise(folder: Path, model: Model, cases: Sequence[CachedCase]) -> None:
    """Write each network of a model's folder as INT8 beside its weights, and the hash to its model card.

    Activation ranges and bias corrections are computed on slices of training cases that the service would process.
    Raises ValueError if there are none.
    """
    folded = model.optimised(torch.float32)
    calibration: list[list[NDArray[np.float32]]] = [[] for _ in model.checkpoints]
    random = np.random.default_rng(SEED)
    for case in tqdm(cases, desc="slices", unit="case"):
        for slices, found in zip(calibration, _calibration_slices(folded, case, random), strict=True):
            slices += found
    for checkpoint, slices in zip(folded.checkpoints, calibration, strict=True):
        if not slices:
            raise ValueError(f"{checkpoint.card.stem}: expected training slices for calibration, found none")
        selected = [slices[index] for index in random.permutation(len(slices))[:MAX_BATCHES]]
        save_int8_weights(folder, checkpoint, _quantise_network(checkpoint, selected))


def _calibration_slices(
    model: Model, case: CachedCase, random: np.random.Generator
) -> Iterator[list[NDArray[np.float32]]]:
    """Yield for each network some batches (B, C, H, W) of the slices that it runs on."""
    volumes = case.volumes  # read once: every access reads and converts them
    slices, masks = axial_slices(model, volumes), predict_masks(model, volumes).masks
    indices = slices.with_brain
    for checkpoint in model.checkpoints:
        selected = np.sort(random.choice(indices, min(SLICES_PER_CASE, len(indices)), replace=False))
        yield [
            slices.take(members, crop, checkpoint.card.slice_offsets).contiguous().numpy()
            for members, crop in slices.blocks(selected)
        ]
        indices = slices_with(masks[model.checkpoints[0].card.regions[0]])


def _quantise_network(checkpoint: Checkpoint, slices: list[NDArray[np.float32]]) -> Int8Weights:
    openvino = load_openvino()  # before nncf, which would import it with its telemetry
    nncf = import_module("nncf")  # slow to import, and only this function needs it
    channels = checkpoint.card.in_channels
    network = openvino.convert_model(
        checkpoint.network, example_input=torch.from_numpy(slices[0]), input=[-1, channels, -1, -1]
    )
    # The slow bias correction: the fast one loses four times as much Dice.
    quantised = nncf.quantize(network, nncf.Dataset(slices), subset_size=len(slices), fast_bias_correction=False)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "network.xml"
        openvino.save_model(quantised, path, compress_to_fp16=False)
        return Int8Weights(path.read_bytes(), path.with_suffix(".bin").read_bytes())
