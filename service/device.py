"""The device that computes, and how much of it."""

import logging
import os
import platform
from contextlib import suppress
from pathlib import Path

import torch

from service.errors import SettingsError
from service.nvidia import driver_version, find_obstacle

log = logging.getLogger("uvicorn.error")

CPU_INFO = Path("/proc/cpuinfo")
CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container: microseconds, or "max", in each period of microseconds
MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")  # of a container: bytes, or "max"


def choose_device(name: str) -> torch.device:
    """The device called cpu or cuda, or by auto the better one that there is. Raises SettingsError without it."""
    obstacle = None if name == "cpu" else find_obstacle()
    if obstacle and name == "cuda":
        raise SettingsError(f"GLIOSERVE_DEVICE: expected a CUDA card to compute on, found {obstacle}.")
    if obstacle and driver_version():
        log.warning("The card of this machine is not used. Expected one to compute on, found %s.", obstacle)
    return torch.device("cpu" if name == "cpu" or obstacle else "cuda")


def describe_machine(device: torch.device) -> str:
    """The processor, or the card, and how many CPUs this process may keep busy."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    names = [line.partition(":")[2].strip() for line in CPU_INFO.read_text().splitlines() if "model name" in line]
    return f"{names[0] if names else platform.machine()}, {usable_cpus()} CPUs"


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


def usable_memory_mib(limit: Path = MEMORY_LIMIT) -> int:
    """The main memory of the machine or, where that is less, of the container that this process is in."""
    usable = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):  # no such file, or no limit
        usable = min(usable, int(limit.read_text()))
    return usable // 2**20
