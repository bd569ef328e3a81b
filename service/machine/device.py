"""The device that the networks run on, and the CPUs and memory that this process may use."""

import logging
import os
import platform
from contextlib import suppress
from pathlib import Path

import torch

from service.errors import SettingsError
from service.machine.nvidia import driver_version, find_gpu_problem

log = logging.getLogger("uvicorn.error")

CPU_INFO = Path("/proc/cpuinfo")
CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container: microseconds, or "max", per period in microseconds
MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")  # of a container: bytes, or "max"


def choose_device(name: str) -> torch.device:
    """The device named cpu or cuda; for auto, CUDA if it is usable. Raises SettingsError for an unusable one."""
    problem = None if name == "cpu" else find_gpu_problem()
    if problem and name == "cuda":
        raise SettingsError(f"GLIOSERVE_DEVICE: expected a usable CUDA GPU, found {problem}.")
    if problem and driver_version():
        log.warning("The GPU is not used. Expected a usable one, found %s.", problem)
    return torch.device("cpu" if name == "cpu" or problem else "cuda")


def describe_machine(device: torch.device) -> str:
    """The GPU, or the processor and the number of CPUs that this process may use."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    names = [line.partition(":")[2].strip() for line in CPU_INFO.read_text().splitlines() if "model name" in line]
    return f"{names[0] if names else platform.machine()}, {usable_cpus()} CPUs"


def choose_precision(name: str) -> torch.dtype | None:
    """The data type with this name; None for auto, which lets the model choose."""
    return None if name == "auto" else getattr(torch, name)


def limit_memory(device: torch.device, mib: int) -> None:
    """Limit this process's memory on a CUDA device; no effect on a CPU."""
    if device.type == "cuda":
        fraction = mib * 2**20 / torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(fraction, 1.0), device)


def peak_memory_mib(device: torch.device) -> float | None:
    """Peak of the memory that torch has reserved on a CUDA device since the start; None for a CPU."""
    return torch.cuda.max_memory_reserved(device) / 2**20 if device.type == "cuda" else None


def usable_cpus(quota: Path = CPU_QUOTA) -> int:
    """Number of CPUs that this process may use. torch counts all CPUs of the machine, too many in a container."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        microseconds, period = quota.read_text().split()
        return max(1, min(cpus, int(microseconds) // int(period)))
    except (OSError, ValueError):  # no such file, or no limit
        return cpus


def usable_memory_mib(limit: Path = MEMORY_LIMIT) -> int:
    """Main memory of the machine, or the limit of the container if that is lower."""
    usable = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):  # no such file, or no limit
        usable = min(usable, int(limit.read_text()))
    return usable // 2**20
