import ctypes
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from service.machine.device import limit_memory, peak_memory_mib, usable_cpus

FREE_VOLUMES = """
import os
import numpy as np
from service.command_line.bench.service_process import ServiceProcess
from service.machine.process import limit_heap_growth

limit_heap_growth()
this = ServiceProcess("", os.getpid())
np.ones(10 * 2**20, np.uint8)  # freeing a first block raises glibc's own threshold
before_mib = this.resident_mib()
volumes = [np.ones(9 * 2**20, np.uint8) for _ in range(16)]
held_mib = this.resident_mib() - before_mib
blocker = np.ones(9 * 2**20, np.uint8)
del volumes
print(held_mib, this.resident_mib() - before_mib - 9)
"""

CUDA, CPU = torch.device("cuda", 0), torch.device("cpu")


@pytest.mark.parametrize(("quota", "expected"), [("100000 100000", 1), ("50000 100000", 1), ("max 100000", None)])
def test_the_cpu_quota_of_a_container_is_respected(quota, expected, tmp_path):
    path = tmp_path / "cpu.max"
    path.write_text(quota)
    assert usable_cpus(path) == (expected or len(os.sched_getaffinity(0)))


def test_every_cpu_is_used_without_a_quota(tmp_path):
    assert usable_cpus(tmp_path / "none") == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(("mib", "share"), [(2048, 0.5), (9999, 1.0)])
def test_gpu_memory_is_limited_to_the_budget(mib, share, monkeypatch):
    gpu, limits = SimpleNamespace(total_memory=4096 * 2**20), []
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: gpu)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda *arguments: limits.append(arguments))
    limit_memory(CUDA, mib)
    assert limits == [(share, CUDA)]


def test_a_cpu_has_no_device_memory():
    limit_memory(CPU, 1)
    assert peak_memory_mib(CPU) is None


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="requires the allocator of glibc")
def test_freed_volumes_are_returned_to_the_system():
    # In a process of its own: here, blocks that earlier tests freed would be reused.
    result = subprocess.run([sys.executable, "-c", FREE_VOLUMES], capture_output=True, text=True, check=True)
    held_mib, left_mib = map(float, result.stdout.split())
    assert held_mib > 140
    assert left_mib < 30
