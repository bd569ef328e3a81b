"""Several processes that train one network: each a part of every batch, together what one would do with the whole.

Start them with torchrun; a single process needs nothing.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed.nn.functional as differentiable
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel


@contextmanager
def joined_processes(device: torch.device) -> Iterator[None]:
    """Join the processes that torchrun started, and leave them at the end."""
    if "WORLD_SIZE" not in os.environ:
        yield
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


def count() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """This process's number; 0 writes the files."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def local_rank() -> int:
    """This process's number on its machine, which is that of its card."""
    return int(os.environ.get("LOCAL_RANK", 0))


def wait_for_all() -> None:
    """Return when every process has come here."""
    if count() > 1:
        distributed.barrier()


def sum_over_processes(value: Tensor) -> Tensor:
    """The sum over processes; its gradient reaches what each of them put in."""
    if count() == 1:
        return value
    total: Tensor = differentiable.all_reduce(value)
    return total


def mean_over_processes(value: Tensor) -> float:
    """The mean of a number over processes."""
    return sum_over_processes(value.detach()).item() / count()


def share(network: nn.Module) -> nn.Module:
    """The network as all processes train it together: gradients averaged, batches normalised as one."""
    if count() == 1:
        return network
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = WholeBatchNorm2d
    return DistributedDataParallel(network)


class WholeBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation over the batches of all processes. torch's own, SyncBatchNorm, needs a GPU."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # the name in torch
        """Features (B, C, H, W), normalised over B, H and W in all processes while training."""
        if not self.training:
            return super().forward(input)
        features = input.float()
        values = features.numel() // features.shape[1] * count()
        mean = sum_over_processes(features.sum((0, 2, 3))) / values
        centred = features - mean[:, None, None]
        variance = sum_over_processes(centred.square().sum((0, 2, 3))) / values
        self._follow(mean.detach(), variance.detach() * values / (values - 1))
        scaled = centred * (variance + self.eps).rsqrt()[:, None, None]
        return (scaled * self.weight[:, None, None] + self.bias[:, None, None]).to(input.dtype)

    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked.add_(1)
