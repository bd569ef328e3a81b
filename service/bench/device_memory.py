"""The memory that the networks will take of a card, computed without one."""

from copy import deepcopy

import torch
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker

from service.segmentation.model import Model
from service.segmentation.predict import LARGEST_SLICE
from service.settings import MIB


def predict_peak_mib(model: Model, precision: torch.dtype, slice_batch: int) -> float:
    """The peak of parameters and activations, on slices as large as any head's; what CUDA itself takes comes on top.

    Tensors without memory pass through the resident networks, one network after the other, and are counted.
    """
    networks = [checkpoint.network for checkpoint in model.optimised(precision).checkpoints]
    without_memory, tracker = FakeTensorMode(), MemTracker()
    with FakeCopyMode(without_memory):
        networks = [deepcopy(network).requires_grad_() for network in networks]  # which the tracker's hooks need
    tracker.track_external(*networks)
    with without_memory, torch.no_grad(), tracker:
        for checkpoint, network in zip(model.checkpoints, networks, strict=True):
            network(torch.empty(slice_batch, checkpoint.card.in_channels, *LARGEST_SLICE, dtype=precision))
    peaks = tracker.get_tracker_snapshot("peak").values()
    return float(sum(peak["Total"] for peak in peaks)) / MIB
