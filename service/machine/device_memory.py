"""The GPU memory that the networks need, computed without a GPU."""

from copy import deepcopy

import torch
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker

from service.networks.model import Model
from service.segmentation.predict import LARGEST_SLICE
from service.settings import MIB


def predict_peak_mib(model: Model, precision: torch.dtype, batch_size: int) -> float:
    """Peak memory of parameters and activations on the largest slices, without the CUDA context.

    Fake tensors, which have no data, are passed through the networks in turn, all of which stay loaded; the memory
    that real tensors would occupy is added up.
    """
    networks = [checkpoint.network for checkpoint in model.optimised(precision).checkpoints]
    fake_mode, tracker = FakeTensorMode(), MemTracker()
    with FakeCopyMode(fake_mode):
        networks = [deepcopy(network).requires_grad_() for network in networks]  # needed by the tracker's hooks
    tracker.track_external(*networks)
    with fake_mode, torch.no_grad(), tracker:
        for checkpoint, network in zip(model.checkpoints, networks, strict=True):
            network(torch.empty(batch_size, checkpoint.card.in_channels, *LARGEST_SLICE, dtype=precision))
    peaks = tracker.get_tracker_snapshot("peak").values()
    return float(sum(peak["Total"] for peak in peaks)) / MIB
