"""The device that computes, and how much of it."""

import os
from pathlib import Path

import torch

from service.errors import SettingsError

CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container: microseconds, or "max", in each period of microseconds


def choose_device(name: str) -> torch.device:
    """The device called cpu or cuda, or by auto the better one that there is. Raises SettingsError without it."""
    if name == "cuda" and not torch.cuda.is_available():
        raise SettingsError("GLIOSERVE_DEVICE: expected a CUDA card that this build of torch supports, found none.")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def choose_precision(name: str) -> torch.dtype | None:
    """The number format called so; None for auto, which leaves it to the model."""
    return None if name == "auto" else getattr(torch, name)


def limit_memory(device: torch.device, mib: int) -> None:
    """Let this process have at most so much of a CUDA card's memory; a CPU is left alone."""
    if device.type == "cuda":
        share = mib * 2**20 / torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(share, 1.0), device)


def peak_memory_mib(device: torch.device) -> float | None:
    """The most memory that torch has held of a CUDA card since the start; None for a CPU."""
    return torch.cuda.max_memory_reserved(device) / 2**20 if device.type == "cuda" else None


def usable_cpus(quota: Path = CPU_QUOTA) -> int:
    """The CPUs that this process may keep busy: torch would count the machine's, and in a container wait for itself."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        microseconds, period = quota.read_text().split()
        return max(1, min(cpus, int(microseconds) // int(period)))
    except (OSError, ValueError):  # no such file, or no limit
        return cpus
