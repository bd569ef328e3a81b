"""The mask of the brain in a scan with its skull, by the networks of deepbet (Fisch et al. 2024)."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from service.imaging.geometry import bounding_box, reorder, resample
from service.imaging.volume import Volume
from service.networks.errors import WeightsError
from service.networks.link_net import LinkNet

BUNDLED = Path(__file__).parents[1] / "weights" / "brain"
SHA256 = {  # of the weights of deepbet 1.0.2, stored in float16
    "box.safetensors": "f070259541d86d31389e0fb170a7db1000126a493072eec9db0fe6d01b110342",
    "brain.safetensors": "161bea3c79a2ed1bbf39c671dd4e84e0379eeb4fdc5f39e7f27840d2eca94566",
}
BOX_SHAPE, SHAPE = (128, 128, 128), (256, 256, 256)  # of the whole scan, and of the brain with a margin
MARGIN = 0.1  # of the size of the brain, on every side
PERCENTILES = (0.5, 99.5)  # of the scan: intensities beyond are clipped
HALF = 0.5
MEAN, DEVIATION = 0.449, 0.226  # of the networks' input
RAS_AXES = np.eye(3)


@dataclass(frozen=True)
class BrainNetworks:
    """A network that finds where the brain is in a scan, and one that outlines it there."""

    box: LinkNet
    outline: LinkNet


def load_brain_networks(folder: Path = BUNDLED) -> BrainNetworks:
    """Load the networks for inference on the CPU. Raises WeightsError."""
    return BrainNetworks(_load(folder / "box.safetensors"), _load(folder / "brain.safetensors"))


def find_brain_roughly(volume: Volume, networks: BrainNetworks) -> Volume:
    """A mask of the brain with few voxels, which span the field of view of the scan; empty if there is no brain."""
    scan = reorder(volume, RAS_AXES)
    whole = _tensor(scan)
    mask = _largest_component(_brain_probability(networks.box, _resize(whole, BOX_SHAPE), _clip(whole)) >= HALF)
    to_voxels = np.eye(4)
    scale = np.array(scan.voxels.shape) / BOX_SHAPE
    to_voxels[:3, :3], to_voxels[:3, 3] = np.diag(scale), (scale - 1) / 2
    return Volume(mask, scan.affine @ to_voxels)


def find_brain(volume: Volume, rough: Volume, networks: BrainNetworks) -> Volume:
    """The mask of the brain on the grid of the scan, given its rough mask.

    The networks were trained on T1 images of healthy adults; T1Gd is the series of a tumour scan that they do best on.
    """
    scan = reorder(volume, RAS_AXES)
    mask = np.zeros(scan.voxels.shape, dtype=bool)
    if rough.voxels.any():
        whole = _tensor(scan)
        box = _with_margin(rough.voxels != 0, mask.shape)
        probability = _brain_probability(networks.outline, _resize(whole[box], SHAPE), _clip(whole))
        within = _resize(torch.from_numpy(probability), mask[box].shape).numpy() >= HALF
        mask[box] = ndimage.binary_fill_holes(_largest_component(within))
    return Volume(resample(Volume(mask, scan.affine), volume.grid), volume.affine)


def _load(path: Path) -> LinkNet:
    network = LinkNet()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path.name}: expected the weights of a brain network; {error}") from error
    if sha256(content).hexdigest() != SHA256[path.name]:
        raise WeightsError(f"{path.name}: expected the weights of a brain network, found another or a damaged file.")
    network.load_state_dict(safetensors.torch.load(content))
    return network.eval()


def _tensor(scan: Volume) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(scan.voxels, np.float32))


def _clip(whole: Tensor) -> NDArray[np.float64]:
    """The lowest and the highest intensity of the networks' input."""
    limits: NDArray[np.float64] = np.percentile(_resize(whole, BOX_SHAPE).numpy(), PERCENTILES)
    return limits


def _resize(voxels: Tensor, shape: tuple[int, ...]) -> Tensor:
    return functional.interpolate(voxels[None, None], shape, mode="nearest-exact")[0, 0]


@torch.inference_mode()
def _brain_probability(network: LinkNet, voxels: Tensor, clip: NDArray[np.float64]) -> NDArray[np.float32]:
    low, high = clip.tolist()
    clipped = voxels.clamp(low, high)
    normalised = MEAN + DEVIATION * (clipped - clipped.mean()) / clipped.std()
    probability: NDArray[np.float32] = network(normalised[None, None]).softmax(dim=1)[0, 1].numpy()
    return probability


def _largest_component(mask: NDArray[Any]) -> NDArray[np.bool_]:
    components, count = ndimage.label(mask)
    if not count:
        return np.zeros(mask.shape, dtype=bool)
    largest: NDArray[np.bool_] = components == 1 + np.bincount(components.ravel())[1:].argmax()
    return largest


def _with_margin(mask: NDArray[np.bool_], shape: tuple[int, ...]) -> tuple[slice, ...]:
    """The bounding box of a mask with a margin, in a volume of another shape that covers the same space."""
    box = []
    for extent, length, full in zip(bounding_box(mask), mask.shape, shape, strict=True):
        margin = MARGIN * (extent.stop - extent.start)
        first, last = ((position * full / length) for position in (extent.start - margin, extent.stop + margin))
        box.append(slice(max(0, int(first)), min(full, int(np.ceil(last)))))
    return tuple(box)
