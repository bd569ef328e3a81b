"""Real U-Nets with known answers: the weights are set by hand so that each network thresholds one modality."""

from pathlib import Path
from threading import Event

import numpy as np
import torch
from torch import nn

from service.imaging.case import Modality
from service.imaging.labels import Region
from service.imaging.volume import Volume
from service.networks.checkpoints import save_checkpoint
from service.networks.model import Checkpoint, Model
from service.networks.model_card import ModelCard
from service.networks.precision import place
from service.networks.unet import UNet

CPU = torch.device("cpu")

# Intensities of the phantom between the tissue inside a region and around it: inside is brighter, in T1 darker.
THRESHOLDS = {
    Region.WT: (Modality.FLAIR, +1, 500.5),
    Region.TC: (Modality.T1, -1, 245.5),  # also true in the ventricles, where nesting must remove it
    Region.ET: (Modality.T1GD, +1, 560.5),
}


def threshold_network(modality: Modality, sign: int, threshold: float) -> UNet:
    """A U-Net of width 1 and depth 1 with foreground where sign * (intensity - threshold) is positive."""
    network = UNet(out_channels=2, width=1, depth=1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        first, first_norm, _, second, second_norm, _ = network.enter
        first.weight[0, list(Modality).index(modality), 1, 1] = sign
        first_norm.bias.fill_(-sign * threshold)
        decoder = network.up[0].convolve
        for convolution in (second, decoder[0], decoder[3]):
            convolution.weight[0, 0, 1, 1] = 1  # pass the feature of the skip connection through unchanged
        for norm in (first_norm, second_norm, decoder[1], decoder[4]):
            norm.weight.fill_(1)
            norm.running_var.fill_(1 - norm.eps)
        network.classify.weight[1] = 1e7  # foreground is certain wherever the ReLU leaves anything
        network.classify.bias[0] = 10  # elsewhere background is
    return network.eval()


def random_networks() -> list[UNet]:
    """Three networks with random weights, with foreground in about half of the voxels of a brain."""
    torch.manual_seed(0)
    networks = [UNet(out_channels=2, width=4, depth=2).eval() for _ in Region]
    for network in networks:
        for norm in network.modules():
            if isinstance(norm, nn.BatchNorm2d):
                nn.init.uniform_(norm.running_mean, -0.1, 0.1)
                nn.init.uniform_(norm.running_var, 0.5, 2)
        with torch.no_grad():
            network.classify.weight *= 50  # probabilities from 0 to 1, not all close to the threshold
            background, foreground = network(torch.randn(4, 4, 64, 64)).mean(dim=(0, 2, 3))
            network.classify.bias[1] += background - foreground
    return networks


def make_card(*regions: Region, **changes: object) -> ModelCard:
    """A model card for a test network."""
    entries = {"width": 1, "depth": 1, "licence": "none", "attribution": "none", "intended_use": "tests"}
    return ModelCard(name="known", version="1", regions=regions, **(entries | changes))


def known_model(images: dict[str, Volume]) -> Model:
    """Three networks that threshold these images of the phantom at `THRESHOLDS`, after normalisation."""
    checkpoints = []
    for region, (modality, sign, intensity) in THRESHOLDS.items():
        brain = np.any([images[name].voxels != 0 for name in Modality], axis=0)
        inside = images[modality].voxels[brain].astype(np.float64)
        network = threshold_network(modality, sign, (intensity - inside.mean()) / inside.std())
        checkpoints.append(Checkpoint(place(network, CPU), make_card(region)))
    return Model(tuple(checkpoints), CPU)


class GatedNetwork(nn.Module):
    """A network that blocks in its forward pass until the test opens the gate."""

    def __init__(self) -> None:
        super().__init__()
        self.network = threshold_network(Modality.FLAIR, 1, 2)
        self.forward_passes = 0
        self._open, self._entered = Event(), Event()

    def forward(self, slices):
        self.forward_passes += 1
        self._entered.set()
        assert self._open.wait(timeout=60)
        return self.network(slices)

    def wait_for_forward_pass(self) -> None:
        """Wait until a case is being computed."""
        assert self._entered.wait(timeout=60)

    def open(self) -> None:
        """Let every forward pass continue."""
        self._open.set()


def gated_model(gate: GatedNetwork, model: Model) -> Model:
    """A model with the gated network as its first one."""
    others = [checkpoint for checkpoint in model.checkpoints if checkpoint.card.regions != (Region.WT,)]
    return Model((Checkpoint(gate, make_card(Region.WT)), *others), model.device)


def save_model(folder: Path, model: Model) -> Path:
    """Write the weights folder of a model and return it."""
    folder.mkdir(exist_ok=True)
    for checkpoint in model.checkpoints:
        save_checkpoint(folder, checkpoint)
    return folder


def threshold_masks(images: dict[str, Volume]) -> dict[Region, np.ndarray]:
    """The foreground of each known network, computed without it and before nesting."""
    brain = np.any([images[name].voxels != 0 for name in Modality], axis=0)
    return {
        region: (sign * images[modality].voxels > sign * intensity) & brain
        for region, (modality, sign, intensity) in THRESHOLDS.items()
    }


def known_masks(images: dict[str, Volume]) -> dict[Region, np.ndarray]:
    """The masks of the known model: within WT, TC extended by ET."""
    whole, core, enhancing = threshold_masks(images).values()
    return {Region.WT: whole, Region.TC: (core | enhancing) & whole, Region.ET: enhancing & whole}


def centroid_mm(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """The centroid of a mask in RAS+ millimetres."""
    return affine[:3, :3] @ np.argwhere(mask).mean(axis=0) + affine[:3, 3]
