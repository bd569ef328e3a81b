"""A small network that recognises the modality of a volume from its pixels, to check what its name says."""

from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional

from service.imaging.case import Modality
from service.networks.crop import crop_or_pad
from service.networks.errors import WeightsError

BUNDLED = Path(__file__).parents[1] / "weights" / "modalities" / "modalities.safetensors"
WIDTHS = (16, 32, 48, 48)
SLICES = 12  # of a volume, evenly spaced
MIDDLE = (0.25, 0.75)  # of the brain's height, where every slice shows much brain
SLICE_SIZE = (192, 160)  # rows and columns in mm
POOLING = 2  # it works at half the resolution


class ModalityNetwork(nn.Module):
    """Four strided convolutions, then the mean and the maximum of each feature, then a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in zip((1, *WIDTHS), WIDTHS, strict=False):
            convolution = nn.Conv2d(inputs, outputs, kernel_size=3, stride=2, padding=1, bias=False)
            layers += [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.classify = nn.Linear(2 * WIDTHS[-1], len(Modality))

    def forward(self, slices: Tensor) -> Tensor:
        """Slices (B, 1, H, W) of one modality each to logits (B, 4), one for each modality."""
        features = self.features(slices)
        logits: Tensor = self.classify(torch.cat([features.mean(dim=(2, 3)), features.amax(dim=(2, 3))], dim=1))
        return logits


def load_modality_network(path: Path = BUNDLED) -> ModalityNetwork:
    """Load the network for inference on the CPU. Raises WeightsError."""
    network = ModalityNetwork()
    try:
        network.load_state_dict(safetensors.torch.load(path.read_bytes()))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise WeightsError(f"{path.name}: expected the weights of the modality network; {error}") from error
    return network.eval()


def middle_slices(intensities: NDArray[np.floating[Any]], count: int = SLICES) -> Tensor:
    """Evenly spaced slices (N, 4, H, W) of normalised modalities (4, X, Y, Z), at full resolution."""
    depth = intensities.shape[-1]
    first, last = (share * (depth - 1) for share in MIDDLE)
    indices = np.linspace(first, last, count).round().astype(int)
    slices = torch.from_numpy(np.ascontiguousarray(intensities[..., indices].transpose(3, 0, 2, 1), np.float32))
    return crop_or_pad(slices, SLICE_SIZE)


def single_modality_inputs(slices: Tensor) -> Tensor:
    """Slices (N, 4, H, W) as the network's input (4 x N, 1, H/2, W/2), all slices of the first modality first."""
    return functional.avg_pool2d(slices, POOLING).transpose(0, 1).flatten(0, 1)[:, None]


@torch.inference_mode()
def recognise(network: ModalityNetwork, intensities: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Log-probability (4, 4) that each volume of a case (rows, in the order of Modality) shows each modality (columns).

    It is the mean over slices, so it does not grow with their number: slices of one volume are no independent evidence.
    """
    logits = network(single_modality_inputs(middle_slices(intensities)))
    per_volume = logits.log_softmax(dim=1).unflatten(0, (len(Modality), -1)).mean(dim=1)
    found: NDArray[np.float64] = per_volume.log_softmax(dim=1).double().numpy()
    return found
