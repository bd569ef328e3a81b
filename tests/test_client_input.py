"""What the Python client takes: cases that cannot be sent, large ones, addresses and keys, and what it depends on."""

import subprocess
import sys
from dataclasses import asdict
from zipfile import ZipFile

import numpy as np
import pytest

from glioserve_client import Client, InvalidCaseError, Options, names
from service.imaging.names import EXTENSIONS, ROLE_OF_SUFFIX
from service.web.case_routes import SegmentParameters

LARGE_MIB = 256
PEAK_MEMORY = """
import resource, sys
from glioserve_client import Client, ProblemError
peak_mib = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(peak_mib())
try:
    Client(sys.argv[1]).segment(sys.argv[2])
except ProblemError:
    print(peak_mib())
"""


def write_zeros(file):
    for _ in range(LARGE_MIB):
        file.write(bytes(2**20))


@pytest.mark.parametrize(
    ("name", "image", "message"),
    [
        ("t3", (np.zeros((2, 2, 2)), np.eye(4)), "Case: expected names from t1, t1n, "),
        ("t1", "missing.nii", "t1: expected a file, an image or a pair of array and affine, found missing.nii"),
        ("t1", (np.full((2, 2, 2), 2**40), np.eye(4)), "t1: expected integers of at most 32 bits, found larger ones."),
        ("t1", (np.zeros((2, 2, 2)), np.eye(3)), "t1: expected an affine of 4 x 4 numbers, found float64 of shape (3"),
        ("t1", (np.zeros((2, 2, 2), "U1"), np.eye(4)), "t1: expected voxels that NIfTI can hold, found <U1 of shape"),
    ],
)
def test_an_image_that_cannot_be_sent_is_an_error(name, image, message):
    with pytest.raises(InvalidCaseError) as error:
        Client().segment({name: image})
    assert str(error.value).startswith(message)


def test_a_path_without_a_case_is_an_error(tmp_path):
    with pytest.raises(InvalidCaseError, match=r"expected images whose names end in one of t1, .* found neither"):
        Client().segment(tmp_path)
    with pytest.raises(InvalidCaseError, match="expected a zip, or a folder of images, found nothing"):
        Client().segment(tmp_path / "missing")
    with pytest.raises(InvalidCaseError, match="expected a path, found an empty one"):
        Client().segment("")
    (tmp_path / "t1.nii").touch()
    with pytest.raises(InvalidCaseError, match="expected a zip, or a folder of images, found another format"):
        Client().segment(tmp_path / "t1.nii")


def test_the_client_knows_the_names_and_parameters_of_the_service():
    assert set(names.ENDINGS) == set(ROLE_OF_SUFFIX)
    assert set(names.EXTENSIONS) == set(EXTENSIONS)
    parameters = {name: field.default for name, field in SegmentParameters.model_fields.items()}
    assert asdict(Options()) == parameters | {"series": {}}


def test_importing_the_client_imports_neither_torch_nor_the_service():
    code = "import sys, glioserve_client; print(sorted({name.partition('.')[0] for name in sys.modules}))"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert "'glioserve_client'" in found
    assert not any(f"'{name}'" in found for name in ("fastapi", "pydantic", "service", "starlette", "torch"))


@pytest.mark.parametrize("in_zip", [True, False])
def test_a_large_case_is_never_in_memory_as_a_whole(address, tmp_path, in_zip):
    path = tmp_path / ("case.zip" if in_zip else "t1.nii")
    if in_zip:
        with ZipFile(path, "w") as archive, archive.open("t1.nii", "w") as entry:
            write_zeros(entry)
    else:
        with path.open("wb") as file:
            write_zeros(file)
    result = subprocess.run(
        [sys.executable, "-c", PEAK_MEMORY, address, path if in_zip else tmp_path],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    baseline_mib, peak_mib = map(float, result.stdout.split())
    assert peak_mib - baseline_mib < LARGE_MIB / 4


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://127.0.0.1", "http://", "http://[::1"])
def test_an_invalid_address_is_an_error(url):
    with pytest.raises(ValueError, match=r"url: expected an address such as http://127\.0\.0\.1:8000, found "):
        Client(url)


@pytest.mark.parametrize("key", ["", "gk_ä", "gk_x\n"])
def test_an_invalid_key_is_an_error_that_does_not_show_it(key):
    with pytest.raises(ValueError, match=r"^key: expected visible ASCII characters, found others or none$"):
        Client(key=key)
