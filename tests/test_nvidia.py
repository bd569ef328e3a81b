"""Whether the GPU is usable, with simulated GPUs and drivers."""

import pytest
import torch

from service.errors import SettingsError
from service.machine import device, nvidia
from service.machine.device import choose_device
from service.machine.nvidia import driver_version, find_gpu_problem, newest_cuda, runs_on

CUDA_13 = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120"]
CUDA_12_6 = ["sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90"]


@pytest.fixture
def gpu(monkeypatch):
    """A GeForce GTX 1050 Ti, and a build of torch for a list of architectures that a test can change."""
    architectures = list(CUDA_12_6)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: architectures)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (6, 1))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA GeForce GTX 1050 Ti")
    return architectures


@pytest.fixture
def no_gpu(monkeypatch):
    """A driver, and a build of torch for CUDA 13.0 that finds no GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(nvidia, "driver_version", lambda: "535.183.01")
    monkeypatch.setattr(nvidia, "newest_cuda", lambda: (13, 0))


@pytest.mark.parametrize(
    ("capability", "architectures", "expected"),
    [
        ((6, 1), CUDA_12_6, True),  # Pascal: machine code for 6.0 runs on 6.1
        ((6, 1), CUDA_13, False),
        ((7, 0), CUDA_13, False),  # Volta: machine code for 7.5 does not run on 7.0
        ((7, 5), CUDA_13, True),
        ((8, 9), CUDA_13, True),
        ((12, 1), CUDA_12_6, False),  # machine code runs on the same major version only
        ((13, 0), CUDA_13, True),  # PTX is compiled for newer GPUs
        ((9, 0), ["sm_90a"], False),
    ],
)
def test_a_build_of_torch_runs_on_the_gpus_it_was_compiled_for(capability, architectures, expected):
    assert runs_on(capability, architectures) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 19:39:15 UTC 2024\n", "535.183.01"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\n", "580.65.06"),
        ("NVRM version: another\n", "of unknown version"),
    ],
)
def test_the_driver_version_is_read_from_the_kernel_module(text, expected, tmp_path):
    (tmp_path / "version").write_text(text)
    assert driver_version(tmp_path / "version") == expected


def test_there_is_no_driver_version_without_a_driver(tmp_path):
    assert driver_version(tmp_path / "version") is None


def test_there_is_no_cuda_version_without_libcuda(monkeypatch):
    monkeypatch.setattr(nvidia, "LIBRARY", "libnone.so.1")
    assert newest_cuda() is None


@pytest.mark.usefixtures("gpu")
def test_a_supported_gpu_is_chosen():
    assert find_gpu_problem() is None
    assert choose_device("auto").type == choose_device("cuda").type == "cuda"
    assert choose_device("cpu").type == "cpu"


def test_a_gpu_too_old_for_the_build_is_named_with_a_remedy(gpu, monkeypatch, caplog):
    gpu[:] = CUDA_13
    monkeypatch.setattr(device, "driver_version", lambda: "580.65.06")
    with pytest.raises(SettingsError, match=r"1050 Ti of compute capability 6.1, .*sm_75.*; .*12\.6 for Pascal"):
        choose_device("cuda")
    assert choose_device("auto").type == "cpu"
    assert "The GPU is not used" in caplog.text


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("driver_version", None, "no NVIDIA driver; install it"),
        ("newest_cuda", None, "not its libcuda.so.1; give the container access to the GPU"),
        ("newest_cuda", (12, 2), "CUDA up to 12.2, while this build of torch needs 13.0; install a newer driver"),
        ("newest_cuda", (13, 1), "no GPU that responds; check the output of nvidia-smi"),
    ],
)
def test_the_first_missing_requirement_of_a_gpu_is_named(name, value, expected, monkeypatch):
    monkeypatch.setattr(nvidia, name, lambda: value)
    assert expected in str(find_gpu_problem())


@pytest.mark.usefixtures("no_gpu")
def test_a_cpu_build_of_torch_is_named_if_there_is_a_driver(monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "a build for CPUs; install a build of torch for CUDA" in str(find_gpu_problem())


@pytest.mark.usefixtures("no_gpu")
def test_a_machine_without_a_driver_uses_the_cpu_without_a_warning(monkeypatch, caplog):
    for module in (nvidia, device):
        monkeypatch.setattr(module, "driver_version", lambda: None)
    assert choose_device("auto").type == "cpu"
    assert caplog.text == ""
