"""Write docker/requirements*.txt: what the image installs, by version and hash.

    python docker/lock.py cpu cu130

Asks for what pyproject.toml asks for, in the versions of .ci/constraints.txt, with the hashes of all files of a
release, so that one lock serves every architecture and Python for which there are files. torch and what it brings are
locked for each flavour apart, in requirements-FLAVOUR.txt; all else is the same for all, in requirements.txt.

PyPI has the build of torch for cu130 (CUDA 13.0). Those for cpu and cu126 (CUDA 12.6) are in indexes of their own,
which PIP_EXTRA_INDEX_URL names, or in a folder, PIP_FIND_LINKS.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCKER = ROOT / "docker"
CONSTRAINTS = ROOT / ".ci" / "constraints.txt"
EXTRAS = ("serve", "int8", "image")
# openvino asks for the first and runs without: the service never calls home. torch asks for the second, to compile
# networks on a card, which the service does not; it takes half a gigabyte.
LEFT_OUT = ("openvino-telemetry", "triton")
OF_TORCH = re.compile(r"(torch|cuda-\w+|nvidia-[\w-]+)==")
OF_PYPI = "cu130"
PLACES = {"PIP_EXTRA_INDEX_URL": "--extra-index-url", "PIP_FIND_LINKS": "--find-links"}
HEADER = "# Written by `make lock` from pyproject.toml[{extras}] and .ci/constraints.txt; not by hand.\n{rest}"
COMMON = "# What every flavour of the image installs, beside one of requirements-*.txt; with --no-deps, see lock.py.\n"
OF_FLAVOUR = "# What the flavour {flavour} installs beside requirements.txt.\n"


def main() -> None:
    """Resolve for each flavour, and part what torch brings from the rest, which is the same for all."""
    common = set()
    for flavour in sys.argv[1:]:
        pins = re.split(r"\n(?=\S)", resolve(flavour).strip())
        of_torch = [pin for pin in pins if OF_TORCH.match(pin)]
        write(f"requirements-{flavour}.txt", OF_FLAVOUR.format(flavour=flavour), of_torch)
        common.add(tuple(pin for pin in pins if pin not in of_torch))
    if len(common) > 1:
        sys.exit("Expected flavours that differ by torch and CUDA alone, found that they ask for other packages too.")
    write("requirements.txt", COMMON, common.pop())


def resolve(flavour: str) -> str:
    """All pins, each with its hashes, and no address."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml", "-", "--constraint", str(CONSTRAINTS)]
    command += [f"--extra={extra}" for extra in EXTRAS] + [f"--no-emit-package={name}" for name in LEFT_OUT]
    command += ["--generate-hashes", "--universal", "--python-version=3.11", "--no-header", "--no-annotate", "--quiet"]
    torch = re.search(r"^torch==\S+", CONSTRAINTS.read_text(), re.MULTILINE)[0]
    if flavour != OF_PYPI:
        torch += f"+{flavour}"
        command += [f"{option}={os.environ[name]}" for name, option in PLACES.items() if os.environ.get(name)]
        command += ["--index-strategy=unsafe-best-match"]  # an index of torch has other packages too, in fewer versions
    uv = subprocess.run(command, cwd=ROOT, input=torch, check=False, stdout=subprocess.PIPE, text=True)
    if uv.returncode:
        sys.exit(f"{flavour}: expected {torch} in an index that PIP_EXTRA_INDEX_URL names, found what uv says above.")
    return uv.stdout


def write(name: str, rest: str, pins: tuple[str, ...] | list[str]) -> None:
    """Write a lock."""
    (DOCKER / name).write_text(HEADER.format(extras=",".join(EXTRAS), rest=rest) + "\n".join(pins) + "\n")


if __name__ == "__main__":
    main()
