"""Write docker/requirements.txt and docker/requirements-cuda.txt: what the image installs, by version and hash.

    python docker/lock.py

Asks for what pyproject.toml asks for, in the versions of .ci/constraints.txt, with the hashes of all files of a
release, so that one lock serves every architecture and Python. torch has two builds of one version: the index that uv
asks has the one for CUDA, and pip must be able to find the one for CPUs, by PIP_EXTRA_INDEX_URL or PIP_FIND_LINKS.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).parents[1]
CPU_LOCK, CUDA_LOCK = ROOT / "docker" / "requirements.txt", ROOT / "docker" / "requirements-cuda.txt"
CONSTRAINTS = ".ci/constraints.txt"
EXTRAS = ("serve", "int8")
TELEMETRY = "openvino-telemetry"  # openvino asks for it and runs without; the service never calls home
OF_CUDA = re.compile(r"cuda-|nvidia-|triton=")  # torch's build for CPUs asks for none of them
PIN = re.compile(r"^torch==(\S+)", re.MULTILINE)
CPU_HEADER = """\
# Written by `make lock` from pyproject.toml[{extras}] and .ci/constraints.txt; not by hand.
# Enough for torch's CPU build, whose hash is that of {wheel};
# its other hashes are those of the CUDA build, which needs requirements-cuda.txt as well.
# Without {telemetry}, which openvino asks for: install with --no-deps.
"""
CUDA_HEADER = """\
# Written by `make lock`; not by hand. What torch's CUDA build needs on top of requirements.txt.
"""


def main() -> None:
    """Resolve once, and part what only CUDA needs from the rest."""
    pins = re.split(r"\n(?=\S)", resolve().strip())
    wheel, cpu_hash = find_cpu_build(next(match[1] for pin in pins if (match := PIN.match(pin))))
    common = [add_hash(pin, cpu_hash) if PIN.match(pin) else pin for pin in pins if not OF_CUDA.match(pin)]
    header = CPU_HEADER.format(extras=",".join(EXTRAS), wheel=wheel, telemetry=TELEMETRY)
    CPU_LOCK.write_text(header + "\n".join(common) + "\n")
    CUDA_LOCK.write_text(CUDA_HEADER + "\n".join(pin for pin in pins if OF_CUDA.match(pin)) + "\n")


def resolve() -> str:
    """All pins, each with its hashes, and no address."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml", "--constraint", CONSTRAINTS]
    command += [f"--extra={extra}" for extra in EXTRAS]
    command += ["--generate-hashes", "--universal", "--python-version=3.11", f"--no-emit-package={TELEMETRY}"]
    command += ["--no-header", "--no-annotate", "--quiet"]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def find_cpu_build(version: str) -> tuple[str, str]:
    """Name and hash of the wheel that pip takes for this Python and machine."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-deps", "--quiet"]
    command += ["--only-binary=:all:", "--report=-", f"torch=={version}+cpu"]
    pip = subprocess.run(command, cwd=ROOT, check=False, stdout=subprocess.PIPE, text=True)
    if pip.returncode:
        sys.exit(f"No CPU build of torch {version}: name an index that has it in PIP_EXTRA_INDEX_URL.")
    found = json.loads(pip.stdout)["install"][0]["download_info"]
    return unquote(found["url"].rpartition("/")[2]), found["archive_info"]["hashes"]["sha256"]


def add_hash(pin: str, sha256: str) -> str:
    """A pin that one more file satisfies."""
    first, *hashes = pin.split(" \\\n")
    return " \\\n".join([first, *sorted([*hashes, f"    --hash=sha256:{sha256}"])])


if __name__ == "__main__":
    main()
