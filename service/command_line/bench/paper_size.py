"""Networks of the paper's size and data type, timed on a sample of slices."""

from dataclasses import dataclass

import torch
from torch.utils.benchmark import Timer

from service.imaging.case import Modality
from service.imaging.labels import Region
from service.networks.model import DEFAULT_BATCH_SIZE
from service.networks.unet import UNet
from service.segmentation.slices import round_up

WIDTH, DEPTH = 64, 4
BATCHES_TIMED = 2  # after one for warm-up


@dataclass(frozen=True)
class PaperSize:
    """How long networks of the paper's size would take for a case: timed on some slices, extrapolated to all."""

    seconds: float  # of three networks on every slice
    slices_timed: int  # by one network, uncropped, in batches of 10, in float32, as in the paper's code


def time_paper_size(slice_shape: tuple[int, int], slices: int, device: torch.device) -> PaperSize:
    """Time one network of the paper's size on random slices (H, W); extrapolate to a case of `slices` slices."""
    network = UNet(2, WIDTH, DEPTH, len(Modality)).eval().to(device)
    height, width = (round_up(length, 2**DEPTH) for length in slice_shape)
    batch = torch.randn(DEFAULT_BATCH_SIZE, len(Modality), height, width, device=device)
    with torch.inference_mode():
        network(batch)
        timer = Timer("network(batch)", globals=locals(), num_threads=torch.get_num_threads())
        seconds_per_batch = timer.timeit(BATCHES_TIMED).mean  # synchronises with a GPU
    seconds = seconds_per_batch / DEFAULT_BATCH_SIZE * slices * len(Region)
    return PaperSize(seconds, slices_timed=DEFAULT_BATCH_SIZE * BATCHES_TIMED)
