"""The device that computes, and how much of it."""

import ctypes
import os
from pathlib import Path

import torch

from service.errors import SettingsError

M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8  # glibc's numbers for these parameters of mallopt
LARGE_ARRAY_BYTES = 8 * 2**20  # a volume of BraTS size is larger; smaller arrays are better reused

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


def keep_heap_small() -> None:
    """Have glibc, where it is the allocator, hold little that is not in use; to be called before any thread starts.

    Left alone it raises its threshold to 32 MiB after a while, and keeps volumes, some 300 MiB of them, for reuse; and
    it gives each thread a heap of its own, whose unused pieces no other thread can have.
    """
    if hasattr(allocator := ctypes.CDLL(None), "mallopt"):
        allocator.mallopt(M_MMAP_THRESHOLD, LARGE_ARRAY_BYTES)
        allocator.mallopt(M_ARENA_MAX, 1)


def return_freed_memory() -> None:
    """Give back what smaller arrays have left unused in glibc's heaps; else these grow over many cases."""
    if hasattr(allocator := ctypes.CDLL(None), "malloc_trim"):
        allocator.malloc_trim(0)


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
