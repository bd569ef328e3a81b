"""The NVIDIA GPU and its driver, and whether this build of torch can use them."""

import re
from collections.abc import Sequence
from ctypes import CDLL, byref, c_int
from dataclasses import dataclass
from pathlib import Path

import torch

DRIVER = Path("/proc/driver/nvidia/version")  # written by the kernel module, and visible in containers
LIBRARY = "libcuda.so.1"  # part of the driver; NVIDIA's container toolkit mounts it into containers
VERSION = re.compile(r"\b\d{3,}\.\d+(\.\d+)?\b")
ARCHITECTURE = re.compile(r"(?P<kind>sm|compute)_(?P<major>\d+)(?P<minor>\d)")  # not sm_90a etc.: one capability only


@dataclass(frozen=True)
class GpuProblem:
    """Why the GPU cannot be used, and how to fix that."""

    found: str
    fix: str

    def __str__(self) -> str:
        return f"{self.found}; {self.fix}"


def find_gpu_problem() -> GpuProblem | None:
    """Why networks cannot run on a CUDA GPU; None if they can."""
    if not torch.cuda.is_available():
        return _explain_missing_gpu()
    architectures = torch.cuda.get_arch_list()
    if runs_on(torch.cuda.get_device_capability(), architectures):
        return None
    return GpuProblem(
        f"{describe_gpu()}, while this build of torch supports {', '.join(architectures)}",
        "install a build for another CUDA version: 12.6 for Pascal and Volta, 13 for Turing and newer",
    )


def _explain_missing_gpu() -> GpuProblem:
    if driver_version() is None:
        return GpuProblem("no NVIDIA driver", "install it, if there is a GPU")
    if torch.version.cuda is None:
        return GpuProblem(f"torch {torch.__version__}, a build for CPUs", "install a build of torch for CUDA")
    newest = newest_cuda()
    if newest is None:
        return GpuProblem(
            f"a driver, but not its {LIBRARY}",
            "give the container access to the GPU: NVIDIA's container toolkit, and docker run --gpus all",
        )
    if newest[0] < int(torch.version.cuda.partition(".")[0]):
        return GpuProblem(
            f"a driver for CUDA up to {newest[0]}.{newest[1]}, while this build of torch needs {torch.version.cuda}",
            "install a newer driver, or a build of torch for an older CUDA version",
        )
    return GpuProblem("a driver, but no GPU that responds", "check the output of nvidia-smi, and CUDA_VISIBLE_DEVICES")


def describe_gpu() -> str:
    """Name and compute capability of the GPU."""
    major, minor = torch.cuda.get_device_capability()
    return f"{torch.cuda.get_device_name()} of compute capability {major}.{minor}"


def runs_on(capability: tuple[int, int], architectures: Sequence[str]) -> bool:
    """Whether code built for architectures such as sm_75 or compute_90 runs on a GPU of a compute capability.

    Binary code (sm) runs on equal and later minor versions of its major version, PTX (compute) on all later versions.
    """
    for match in filter(None, map(ARCHITECTURE.fullmatch, architectures)):
        built_for = int(match["major"]), int(match["minor"])
        if built_for <= capability and (match["kind"] == "compute" or built_for[0] == capability[0]):
            return True
    return False


def driver_version(file: Path = DRIVER) -> str | None:
    """Version of NVIDIA's kernel module; None if it is not loaded."""
    try:
        match = VERSION.search(file.read_text())
    except OSError:
        return None
    return match[0] if match else "of unknown version"


def newest_cuda() -> tuple[int, int] | None:
    """Newest CUDA version that the driver supports; None if its library is missing."""
    try:
        library = CDLL(LIBRARY)
    except OSError:
        return None
    version = c_int()
    library.cuDriverGetVersion(byref(version))  # 1000 * major + 10 * minor
    return version.value // 1000, version.value % 1000 // 10
