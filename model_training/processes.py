"""Distributed training: several processes train one network, each on a part of every batch.

The result is the same as that of one process with the whole batch. Start the processes with torchrun; a single process
needs no launcher.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed.nn.functional as differentiable
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Join the process group that torchrun started, and leave it at the end."""
    if "WORLD_SIZE" not in os.environ:
        yield
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


def world_size() -> int:
    """Number of processes that train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """Number of this process; process 0 writes the files."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def local_rank() -> int:
    """Number of this process on its machine, which is also the number of its GPU."""
    return int(os.environ.get("LOCAL_RANK", 0))


def wait_for_all() -> None:
    """Wait until every process has called this function."""
    if world_size() > 1:
        distributed.barrier()


def sum_over_processes(value: Tensor) -> Tensor:
    """Sum over all processes; gradients flow back to the value of each process."""
    if world_size() == 1:
        return value
    total: Tensor = differentiable.all_reduce(value)
    return total


def mean_over_processes(value: Tensor) -> float:
    """Mean of a scalar over all processes."""
    return sum_over_processes(value.detach()).item() / world_size()


def distribute(network: nn.Module) -> nn.Module:
    """Wrap a network for distributed training: averaged gradients, synchronised batch normalisation.

    Returns the network itself for a single process.
    """
    if world_size() == 1:
        return network
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SynchronisedBatchNorm2d
    return DistributedDataParallel(network)


class SynchronisedBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation over the batches of all processes. torch's own SyncBatchNorm requires a GPU."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # the name in torch
        """Normalise features (B, C, H, W); in training mode, with the statistics of all processes."""
        if not self.training:
            return super().forward(input)
        features = input.float()
        values = features.numel() // features.shape[1] * world_size()
        mean = sum_over_processes(features.sum((0, 2, 3))) / values
        centred = features - mean[:, None, None]
        variance = sum_over_processes(centred.square().sum((0, 2, 3))) / values
        self._update_running_statistics(mean.detach(), variance.detach() * values / (values - 1))
        scaled = centred * (variance + self.eps).rsqrt()[:, None, None]
        return (scaled * self.weight[:, None, None] + self.bias[:, None, None]).to(input.dtype)

    def _update_running_statistics(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked.add_(1)


def training_device() -> torch.device:
    """The GPU of this process, or the CPU if there is no GPU."""
    return torch.device("cuda", local_rank()) if torch.cuda.is_available() else torch.device("cpu")
