"""Clients that users already have: the examples in docs/clients, and those in the documentation's pages."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest
from support.case_files import zip_case
from support.client_runs import MASK, plain_answer

from service.imaging.case import Modality

DOCS = Path(__file__).parents[1] / "docs"
PAGES = DOCS / "client.md", DOCS.parent / "README.md"
CLIENTS = {
    "curl": ("sh", "segment.sh"),
    "java": ("java", "Segment.java"),
    "node": ("node", "segment.mjs"),
    "requests": (sys.executable, "segment_requests.py"),
}


def has_program(name):
    return name == "requests" or shutil.which(name)


@pytest.fixture(params=CLIENTS)
def run(request, address, tmp_path):
    """A function that runs a client on a case, and the file that it writes."""
    if not has_program(request.param):
        pytest.skip(f"needs {request.param}")
    program, example = CLIENTS[request.param]

    def run(body):
        (tmp_path / "case.zip").write_bytes(body)
        command = [program, DOCS / "clients" / example, "case.zip", "result.zip", address]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)

    return run


def test_a_client_gets_the_answer(run, address, phantom_zip, tmp_path):
    result = run(phantom_zip)
    assert (result.returncode, result.stderr) == (0, "")
    with ZipFile(tmp_path / "result.zip") as answer:
        assert answer.read(MASK) == plain_answer(address, phantom_zip)[MASK]


def test_a_client_shows_a_problem(run, phantom_files):
    result = run(zip_case(phantom_files, drop=Modality.FLAIR))
    assert result.returncode == 1
    assert "FLAIR: missing; found T1, T1Gd, T2, ground truth." in result.stderr


def python_examples():
    """The Python examples of the documentation: indented blocks that import the client."""
    blocks = [block for page in PAGES for block in re.findall(r"(?:^(?:    .*)?\n)+", page.read_text(), re.MULTILINE)]
    return [re.sub(r"^    ", "", block, flags=re.MULTILINE) for block in blocks if "from glioserve_client" in block]


@pytest.mark.usefixtures("case")
@pytest.mark.parametrize("example", python_examples())
def test_the_examples_of_the_python_client_run(example, address, phantom_files, tmp_path):
    for name, data in phantom_files.items():
        (tmp_path / name.rpartition("/")[2]).write_bytes(data)
    code = example.replace("http://127.0.0.1:8000", address).replace("Client()", f"Client({address!r})")
    subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=tmp_path, timeout=120, check=True)
