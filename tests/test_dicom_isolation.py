"""Decoding in a child process."""

import os
import signal
from mmap import mmap
from time import sleep

import pytest

from service.dicom import isolation
from service.dicom.isolation import run_isolated


def test_results_arrive_in_shared_memory():
    shared = mmap(-1, 4)
    assert run_isolated(lambda: shared.write(b"done"))
    assert shared[:] == b"done"


@pytest.mark.parametrize(
    "function",
    [lambda: 1 / 0, lambda: os.kill(os.getpid(), signal.SIGKILL), lambda: sleep(60)],
    ids=["error", "crash", "hang"],
)
def test_a_failure_of_any_kind_is_reported(function, monkeypatch):
    monkeypatch.setattr(isolation, "MAX_SECONDS", 1)
    assert not run_isolated(function)
