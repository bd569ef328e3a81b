"""Real U-Nets, their weights set by hand so that the answer is known: where one modality passes a threshold."""

from pathlib import Path
from threading import Event

import numpy as np
import torch
from torch import nn

from service.segmentation.card import Card
from service.segmentation.case import Modality
from service.segmentation.labels import Region
from service.segmentation.model import Checkpoint, Model
from service.segmentation.network import UNet, place
from service.segmentation.volume import Volume
from service.segmentation.weights import save_checkpoint

CPU = torch.device("cpu")

# Phantom intensities between the tissue that a region holds and the one around it: above, or below for T1.
THRESHOLDS = {
    Region.WT: (Modality.FLAIR, +1, 500.5),
    Region.TC: (Modality.T1, -1, 245.5),  # fires in the ventricles too, where nesting must silence it
    Region.ET: (Modality.T1GD, +1, 520.5),
}


def threshold_network(modality: Modality, sign: int, threshold: float) -> UNet:
    """A U-Net of width and depth 1 whose foreground is where sign * (score - threshold) is positive."""
    network = UNet(out_channels=2, width=1, depth=1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        first, first_norm, _, second, second_norm, _ = network.enter
        first.weight[0, list(Modality).index(modality), 1, 1] = sign
        first_norm.bias.fill_(-sign * threshold)
        decoder = network.up[0].convolve
        for convolution in (second, decoder[0], decoder[3]):
            convolution.weight[0, 0, 1, 1] = 1  # the skip connection's feature, passed on unchanged
        for norm in (first_norm, second_norm, decoder[1], decoder[4]):
            norm.weight.fill_(1)
            norm.running_var.fill_(1 - norm.eps)
        network.classify.weight[1] = 1e4  # foreground wins wherever anything is left after the ReLU
        network.classify.bias[0] = 1e-3
    return network.eval()


def random_networks() -> list[UNet]:
    """Three networks with random weights that fire in about half of a brain's voxels."""
    torch.manual_seed(0)
    networks = [UNet(out_channels=2, width=4, depth=2).eval() for _ in Region]
    for network in networks:
        for norm in network.modules():
            if isinstance(norm, nn.BatchNorm2d):
                nn.init.uniform_(norm.running_mean, -0.1, 0.1)
                nn.init.uniform_(norm.running_var, 0.5, 2)
        with torch.no_grad():
            background, foreground = network(torch.randn(4, 4, 64, 64)).mean(dim=(0, 2, 3))
            network.classify.bias[1] += background - foreground
    return networks


def make_card(*regions: Region, **changes: object) -> Card:
    """A card for a test network."""
    entries = {"width": 1, "depth": 1, "licence": "none", "attribution": "none", "intended_use": "tests"}
    return Card(name="known", version="1", regions=regions, **(entries | changes))


def known_model(images: dict[str, Volume]) -> Model:
    """Three networks whose thresholds are the phantom's intensities, in the scores of these very images."""
    checkpoints = []
    for region, (modality, sign, intensity) in THRESHOLDS.items():
        brain = np.any([images[name].voxels != 0 for name in Modality], axis=0)
        inside = images[modality].voxels[brain].astype(np.float64)
        network = threshold_network(modality, sign, (intensity - inside.mean()) / inside.std())
        checkpoints.append(Checkpoint(place(network, CPU), make_card(region)))
    return Model(tuple(checkpoints), CPU)


class Gate(nn.Module):
    """A network that says when it is asked, and answers when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.network = threshold_network(Modality.FLAIR, 1, 2)
        self.asked, self.let = Event(), Event()
        self.inside = self.most_inside = self.batches = 0

    def forward(self, slices):
        self.batches += 1
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        self.asked.set()
        assert self.let.wait(timeout=60)
        self.inside -= 1
        return self.network(slices)


def gated_model(gate: Gate, model: Model) -> Model:
    """A model with the gate for its first network."""
    others = [checkpoint for checkpoint in model.checkpoints if checkpoint.card.regions != (Region.WT,)]
    return Model((Checkpoint(gate, make_card(Region.WT)), *others), model.device)


def save_model(folder: Path, model: Model) -> Path:
    """Write a model as the service loads it."""
    folder.mkdir(exist_ok=True)
    for checkpoint in model.checkpoints:
        save_checkpoint(folder, checkpoint)
    return folder


def fired_masks(images: dict[str, Volume]) -> dict[Region, np.ndarray]:
    """Where each known network fires, worked out without it."""
    brain = np.any([images[name].voxels != 0 for name in Modality], axis=0)
    return {
        region: (sign * images[modality].voxels > sign * intensity) & brain
        for region, (modality, sign, intensity) in THRESHOLDS.items()
    }


def known_masks(images: dict[str, Volume]) -> dict[Region, np.ndarray]:
    """What the known networks answer together: each region within the one around it."""
    whole, core, enhancing = fired_masks(images).values()
    return {Region.WT: whole, Region.TC: core & whole, Region.ET: enhancing & core & whole}


def centroid_mm(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """The centre of a mask in RAS+ millimetres."""
    return affine[:3, :3] @ np.argwhere(mask).mean(axis=0) + affine[:3, 3]
