"""Peak memory of the process."""

import resource

import torch


def peak_memory_mib(device: torch.device) -> float:
    """Peak memory so far: resident memory of the process, or on a GPU the memory that torch allocated there."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
