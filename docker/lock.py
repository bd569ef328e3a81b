"""Write the lock files docker/requirements*.txt: the packages of the image, pinned by version and hash.

    python docker/lock.py cpu cu130

The requirements come from pyproject.toml and the versions from .ci/constraints.txt. Each pin has the hashes of all
files of its release, so one lock file works for every architecture and Python version that the release supports. torch
and its CUDA libraries are locked per flavour, in requirements-FLAVOUR.txt. All other packages are the same for every
flavour and are in requirements.txt.

PyPI has the build of torch for cu130 (CUDA 13.0). The builds for cpu and cu126 (CUDA 12.6) are in separate indexes: set
PIP_EXTRA_INDEX_URL to the index, or PIP_FIND_LINKS to a folder of wheels.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCKER = ROOT / "docker"
CONSTRAINTS = ROOT / ".ci" / "constraints.txt"
EXTRAS = ("serve", "bridge", "int8", "image")
# openvino requires openvino-telemetry but runs without it, and the service must not send telemetry. torch requires
# triton to compile networks on a GPU, which the service does not do; triton takes half a gigabyte.
EXCLUDED = ("openvino-telemetry", "triton")
TORCH_PIN = re.compile(r"(torch|cuda-\w+|nvidia-[\w-]+)==")
PYPI_FLAVOUR = "cu130"
INDEX_OPTIONS = {"PIP_EXTRA_INDEX_URL": "--extra-index-url", "PIP_FIND_LINKS": "--find-links"}
HEADER = "# Written by `make lock` from pyproject.toml[{extras}] and .ci/constraints.txt; do not edit.\n{comment}"
COMMON = "# Packages of every flavour of the image, without torch. Install with --no-deps; see lock.py.\n"
FLAVOUR = "# Packages of the flavour {flavour}, in addition to requirements.txt.\n"


def main() -> None:
    """Resolve each flavour; write torch and its CUDA libraries per flavour, and the other packages once."""
    common = set()
    for flavour in sys.argv[1:]:
        pins = re.split(r"\n(?=\S)", resolve(flavour).strip())
        torch_pins = [pin for pin in pins if TORCH_PIN.match(pin)]
        write(f"requirements-{flavour}.txt", FLAVOUR.format(flavour=flavour), torch_pins)
        common.add(tuple(pin for pin in pins if pin not in torch_pins))
    if len(common) > 1:
        sys.exit("Flavours: expected differences only in torch and its libraries, found differences in other packages.")
    write("requirements.txt", COMMON, common.pop())


def resolve(flavour: str) -> str:
    """Return the pins of a flavour with their hashes, without index addresses."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml", "-", "--constraint", str(CONSTRAINTS)]
    command += [f"--extra={extra}" for extra in EXTRAS] + [f"--no-emit-package={name}" for name in EXCLUDED]
    command += ["--generate-hashes", "--universal", "--python-version=3.11", "--no-header", "--no-annotate", "--quiet"]
    torch = re.search(r"^torch==\S+", CONSTRAINTS.read_text(), re.MULTILINE)[0]
    if flavour != PYPI_FLAVOUR:
        torch += f"+{flavour}"
        command += [f"{option}={os.environ[name]}" for name, option in INDEX_OPTIONS.items() if os.environ.get(name)]
        command += ["--index-strategy=unsafe-best-match"]  # torch's indexes have few versions of other packages
    uv = subprocess.run(command, cwd=ROOT, input=torch, check=False, stdout=subprocess.PIPE, text=True)
    if uv.returncode:
        sys.exit(f"{flavour}: expected {torch} in the index of PIP_EXTRA_INDEX_URL, found the uv error above.")
    return uv.stdout


def write(name: str, comment: str, pins: tuple[str, ...] | list[str]) -> None:
    """Write a lock file."""
    (DOCKER / name).write_text(HEADER.format(extras=",".join(EXTRAS), comment=comment) + "\n".join(pins) + "\n")


if __name__ == "__main__":
    main()
