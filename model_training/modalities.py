"""Training and cross-validation of the network that recognises modalities."""

import json
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from tqdm import trange

from model_training.augmentation import augment
from model_training.augmentation.random_streams import RandomStreams
from model_training.data.prepare import CachedCase
from model_training.data.split import Split
from model_training.recipe import Augmentation
from service.imaging.case import Modality
from service.networks.modality_network import (
    SLICE_SIZE,
    ModalityNetwork,
    middle_slices,
    recognise,
    single_modality_inputs,
)
from service.segmentation.modalities import T1, T1GD, find_contradiction

# Strong changes of intensity: the network must not rely on the contrast of a few scanners.
AUGMENTATION = Augmentation(spatial=True, contrast=1.0, gamma=0.5, bias_field=0.5, noise=0.3, blur=0.3)
SLICES_PER_CASE = 24
BATCH = 16  # slices of all four modalities each
PEAK_LEARNING_RATE, WEIGHT_DECAY = 6e-3, 1e-2


def train_modality_network(cases: Sequence[CachedCase], steps: int, seed: int) -> ModalityNetwork:
    """Train the network on the middle slices of cases, on the CPU."""
    torch.manual_seed(seed)
    random, network = np.random.default_rng(seed), ModalityNetwork()
    slices = torch.cat([middle_slices(case.volumes, SLICES_PER_CASE) for case in cases])  # (N, 4, H, W)
    optimiser = torch.optim.AdamW(network.parameters(), PEAK_LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, PEAK_LEARNING_RATE, total_steps=steps)
    for _ in trange(steps, desc="modalities", unit="step"):
        selected = slices[torch.from_numpy(random.integers(len(slices), size=BATCH))]
        inputs = single_modality_inputs(_augmented(selected, random))
        loss = functional.cross_entropy(network(inputs), torch.arange(len(Modality)).repeat_interleave(BATCH))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return network.eval()


def cross_validate_modalities(
    cases: Mapping[str, CachedCase], folds: Sequence[Split], steps: int, seed: int
) -> list[NDArray[np.float64]]:
    """The log-probabilities (4, 4) of every case, by a network that was not trained on it."""
    recognised = []
    for split in folds:
        network = train_modality_network([cases[name] for name in split["train"]], steps, seed)
        recognised += [recognise(network, cases[name].volumes) for name in split["test"]]
    return recognised


def print_detection(recognised: Sequence[NDArray[np.float64]]) -> None:
    """Print how often each mistake in the names is found, and how often correct names are doubted."""
    for mistake, orders in MISTAKES.items():
        found = [find_contradiction(log_probability[order]) for log_probability in recognised for order in orders]
        doubted, certain = (
            sum(contradiction is not None for contradiction in found),
            sum(contradiction is not None and contradiction.is_certain for contradiction in found),
        )
        print(f"{mistake:24}{len(found):5} trials: {doubted} found, {certain} of them certain")


def _swapped(a: int, b: int) -> list[int]:
    """The volumes in the order of their names if the names of two are swapped."""
    order = list(range(len(Modality)))
    order[a], order[b] = b, a
    return order


MISTAKES = {  # volume by name, as indices of Modality
    "none": [list(range(len(Modality)))],
    "two names swapped": [_swapped(a, b) for a, b in combinations(range(len(Modality)), 2)],
    "T1 in place of T1Gd": [[T1 if volume == T1GD else volume for volume in range(len(Modality))]],
}


def save_modality_network(path: Path, network: ModalityNetwork, card: Mapping[str, str]) -> None:
    """Write the weights, and their card beside them as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(safetensors.torch.save(network.state_dict()))
    path.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n")


def _augmented(slices: Tensor, random: np.random.Generator) -> Tensor:
    streams = RandomStreams(random.integers(2**31, size=len(slices)).tolist(), torch.device("cpu"))
    no_labels = torch.zeros(len(slices), 1, *slices.shape[-2:])
    augmented, _ = augment(slices, no_labels, SLICE_SIZE, AUGMENTATION, streams)
    return augmented
