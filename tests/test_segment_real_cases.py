"""`glioserve segment` on twelve real cases, if these are present beside the checkout."""

import csv
import shutil
import subprocess
from contextlib import contextmanager
from zipfile import ZipFile

import pytest
from support.client_runs import MASK, count_jobs
from support.command_line import GLIOSERVE
from support.real_cases import BRATS, unpack_evaluation_cases
from support.running_service import serve_in_process, wait_until

pytestmark = pytest.mark.skipif(not BRATS.is_dir(), reason="no real cases beside the checkout")

PARTS = "t1", "t1ce", "t2", "flair", "seg"
TIMEOUT_S = 900


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """A folder of twelve cases."""
    folder = tmp_path_factory.mktemp("real") / "cases"
    assert len(unpack_evaluation_cases(folder)) == 12
    return folder


@contextmanager
def running_segment(cases, out, address, *options):
    """`glioserve segment` on all cases, in the background."""
    command = [GLIOSERVE, "segment", cases, "--out", out, "--url", address, *options]
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        yield process


def read_outcomes(out):
    with (out / "volumes.csv").open(newline="") as table:
        return [row["outcome"] for row in csv.DictReader(table)]


def segment_by_curl(case, address, folder):
    """The label map that curl gets for a case."""
    files = [f"-F{part}=@{case / f'{case.name}_{part}.nii.gz'}" for part in PARTS]
    answer = folder / f"{case.name}.zip"
    subprocess.run(["curl", "-sS", "--fail-with-body", *files, "-o", answer, f"{address}/segment"], check=True)
    with ZipFile(answer) as archive:
        return archive.read(MASK)


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
def test_a_killed_command_that_is_repeated_gets_the_masks_of_curl_and_computes_each_once(cases, tmp_path):
    out = tmp_path / "out"
    with serve_in_process(tmp_path / "service") as service:
        with running_segment(cases, out, service.address) as killed:
            wait_until(lambda: len(list(out.glob(f"*/{MASK}"))) >= 6, TIMEOUT_S)
            killed.kill()
        with running_segment(cases, out, service.address) as repeated:
            _, messages = repeated.communicate(timeout=TIMEOUT_S)
        assert repeated.returncode == 0, messages
        assert count_jobs(service.address) == 12
        assert set(read_outcomes(out)) == {"done", "already-done"}
        for case in sorted(cases.iterdir()):
            assert (out / case.name / MASK).read_bytes() == segment_by_curl(case, service.address, tmp_path)


def test_two_commands_at_once_fill_the_queue_and_finish_all_cases(cases, weights, tmp_path):
    with serve_in_process(tmp_path / "service", weights=weights, queue_size=2) as service:
        with (
            running_segment(cases, tmp_path / "a", service.address) as first,
            running_segment(cases, tmp_path / "b", service.address, "--probabilities") as second,
        ):
            for command in (first, second):
                _, messages = command.communicate(timeout=TIMEOUT_S)
                assert command.returncode == 0, messages
        assert count_jobs(service.address) == 24
    assert read_outcomes(tmp_path / "a") == read_outcomes(tmp_path / "b") == ["done"] * 12
