"""The networks in the size and number format of the paper, timed on a sample of slices."""

from dataclasses import dataclass

import torch
from torch.utils.benchmark import Timer

from service.segmentation.case import Modality
from service.segmentation.labels import Region
from service.segmentation.model import SLICE_BATCH
from service.segmentation.network import UNet
from service.segmentation.slices import round_up

WIDTH, DEPTH = 64, 4
BATCHES_TIMED = 2  # after one that warms up


@dataclass(frozen=True)
class PaperSize:
    """How long the paper-size networks would take for a case: timed on some slices, scaled to all."""

    seconds: float  # of three networks on every slice
    slices_timed: int  # by one network, whole, in batches of 10, float32, as the paper's code runs it


def time_paper_size(slice_shape: tuple[int, int], slices: int, device: torch.device) -> PaperSize:
    """Time one network of the paper's size on slices (H, W) of random numbers; scale to a case of so many slices."""
    network = UNet(2, WIDTH, DEPTH, len(Modality)).eval().to(device)
    height, width = (round_up(length, 2**DEPTH) for length in slice_shape)
    batch = torch.randn(SLICE_BATCH, len(Modality), height, width, device=device)
    with torch.inference_mode():
        network(batch)
        timer = Timer("network(batch)", globals=locals(), num_threads=torch.get_num_threads())
        seconds_a_batch = timer.timeit(BATCHES_TIMED).mean  # waits for a card to finish
    seconds = seconds_a_batch / SLICE_BATCH * slices * len(Region)
    return PaperSize(seconds, slices_timed=SLICE_BATCH * BATCHES_TIMED)
