"""NVIDIA's card and driver, and whether this build of torch can use them."""

import re
from collections.abc import Sequence
from ctypes import CDLL, byref, c_int
from dataclasses import dataclass
from pathlib import Path

import torch

DRIVER = Path("/proc/driver/nvidia/version")  # of the kernel's module, which containers see too
LIBRARY = "libcuda.so.1"  # comes with the driver, and into a container by NVIDIA's container toolkit
VERSION = re.compile(r"\b\d{3,}\.\d+(\.\d+)?\b")
ARCHITECTURE = re.compile(r"(?P<kind>sm|compute)_(?P<major>\d+)(?P<minor>\d)")  # others are for one card alone


@dataclass(frozen=True)
class Obstacle:
    """What stands against computing on a card, and what to do about it."""

    found: str
    cure: str

    def __str__(self) -> str:
        return f"{self.found}; {self.cure}"


def find_obstacle() -> Obstacle | None:
    """What stands against computing on a CUDA card; None where nothing does."""
    if not torch.cuda.is_available():
        return _explain_absence()
    architectures = torch.cuda.get_arch_list()
    if runs_on(torch.cuda.get_device_capability(), architectures):
        return None
    return Obstacle(
        f"{describe_card()}, while this build of torch is for {', '.join(architectures)}",
        "install a build for another CUDA: 12.6 for Pascal and Volta, 13 for Turing and newer",
    )


def _explain_absence() -> Obstacle:
    if driver_version() is None:
        return Obstacle("no NVIDIA driver", "install it, if there is a card")
    if torch.version.cuda is None:
        return Obstacle(f"torch {torch.__version__}, a build for CPUs", "install a build of torch for CUDA")
    newest = newest_cuda()
    if newest is None:
        return Obstacle(
            f"a driver, but not its {LIBRARY}",
            "let the container have the card: NVIDIA's container toolkit, and docker run --gpus all",
        )
    if newest[0] < int(torch.version.cuda.partition(".")[0]):
        return Obstacle(
            f"a driver for CUDA up to {newest[0]}.{newest[1]}, while this build of torch is for {torch.version.cuda}",
            "install a newer driver, or a build of torch for an older CUDA",
        )
    return Obstacle("a driver, but no card that answers", "see what nvidia-smi says, and CUDA_VISIBLE_DEVICES")


def describe_card() -> str:
    """Name and compute capability of the card."""
    major, minor = torch.cuda.get_device_capability()
    return f"{torch.cuda.get_device_name()} of compute capability {major}.{minor}"


def runs_on(capability: tuple[int, int], architectures: Sequence[str]) -> bool:
    """Whether code built for architectures, such as sm_75 or compute_90, runs on a card of a compute capability.

    Machine code (sm) runs on later minor versions of its major one, intermediate code (compute) on all later ones.
    """
    for match in filter(None, map(ARCHITECTURE.fullmatch, architectures)):
        built_for = int(match["major"]), int(match["minor"])
        if built_for <= capability and (match["kind"] == "compute" or built_for[0] == capability[0]):
            return True
    return False


def driver_version(file: Path = DRIVER) -> str | None:
    """The version of NVIDIA's kernel module; None where there is none."""
    try:
        match = VERSION.search(file.read_text())
    except OSError:
        return None
    return match[0] if match else "of unknown version"


def newest_cuda() -> tuple[int, int] | None:
    """The newest CUDA that the driver runs; None where its library is not to be found."""
    try:
        library = CDLL(LIBRARY)
    except OSError:
        return None
    version = c_int()
    library.cuDriverGetVersion(byref(version))  # 1000 * major + 10 * minor
    return version.value // 1000, version.value % 1000 // 10
