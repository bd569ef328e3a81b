"""Build and run the container image without a daemon: with buildah and runc, on a base image from debootstrap.

Requires root and the Debian packages buildah, debootstrap and runc.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import CDLL
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from support.running_service import is_ready, wait_until

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "build" / "image"
BASE = "localhost/glioserve-base"
TOOLS = "buildah", "debootstrap", "runc"
RELEASE, PYTHON = "bookworm", "3.11"  # of Debian, and its Python version
USER = 10001
ADDRESS = "http://127.0.0.1:8000"
CONTAINER = "glioserve-image-test"
WITHOUT_DAEMON = {"STORAGE_DRIVER": "vfs", "BUILDAH_ISOLATION": "chroot"}
NEW_NETWORK = 0x40000000  # CLONE_NEWNET, of setns(2)


def run(*command: object, **options: Any) -> str:
    """Run a command and return its output. Raises CalledProcessError."""
    environment = os.environ | WITHOUT_DAEMON
    return subprocess.run(
        [str(word) for word in command], check=True, stdout=subprocess.PIPE, text=True, env=environment, **options
    ).stdout.strip()


def make_base() -> None:
    """Make an image of a minimal Debian with Python, unless it exists."""
    if BASE in run("buildah", "images", "--format", "{{.Name}}"):
        return
    system = FOLDER / "base"
    shutil.rmtree(system, ignore_errors=True)
    run("debootstrap", "--variant=minbase", "--include=python3,python3-venv", RELEASE, system)
    shutil.rmtree(system / "var" / "cache" / "apt")
    shutil.rmtree(system / "var" / "lib" / "apt" / "lists")
    container = run("buildah", "from", "scratch")
    run("buildah", "add", container, system, "/")
    run("buildah", "config", "--env", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", container)
    run("buildah", "commit", "--rm", container, BASE)
    shutil.rmtree(system)


def fetch_wheels() -> Path:
    """Download the pinned wheels with the pip of this machine, so that the build needs no network."""
    wheels = FOLDER / "wheels"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    command += ["--only-binary=:all:", f"--python-version={PYTHON}", f"--dest={wheels}"]
    run(*command, *(f"--requirement=docker/requirements{flavour}.txt" for flavour in ("", "-cpu")), cwd=ROOT)
    return wheels


def build(tag: str) -> str:
    """Build the image for CPUs and return its name."""
    name = f"localhost/glioserve-test:{tag}"
    timestamp = run("git", "log", "-1", "--format=%ct", cwd=ROOT)  # instead of SOURCE_DATE_EPOCH
    builder = f"buildah build --quiet --format docker --timestamp {timestamp} --volume {FOLDER / 'wheels'}:/wheels:ro"
    offline = "PIP_FIND_LINKS=/wheels", "PIP_NO_INDEX=1"
    if name in run("buildah", "images", "--format", "{{.Name}}:{{.Tag}}").split():
        run("buildah", "rmi", "--force", name)  # otherwise each run leaves an image without a name
    run(
        "make",
        "--silent",
        "image",
        f"BUILDER={builder}",
        f"BASE={BASE}",
        "FLAVOUR=cpu",
        *offline,
        f"TAG={name}",
        cwd=ROOT,
    )
    return name


@contextmanager
def mounted(image: str) -> Iterator[Path]:
    """Mount the root file system of an image."""
    container = run("buildah", "from", image)
    try:
        yield Path(run("buildah", "mount", container))
    finally:
        run("buildah", "rm", container)


def inspect(image: str) -> dict[str, Any]:
    """The configuration of an image and the hashes of its layers."""
    description: dict[str, Any] = json.loads(run("buildah", "inspect", "--type", "image", image))["Docker"]
    return description


@dataclass(frozen=True)
class Container:
    """A running container of the service."""

    process: subprocess.Popen
    log: Path
    seconds_to_ready: float

    @property
    def pids(self) -> list[int]:
        """The process ids; signals go to the first one."""
        return [int(pid) for pid in json.loads(run("runc", "ps", "--format", "json", CONTAINER))]

    def execute(self, *command: str) -> subprocess.CompletedProcess:
        """Run a command in the container."""
        return subprocess.run(
            ["runc", "exec", CONTAINER, *command], capture_output=True, text=True, timeout=120, check=False
        )

    def stop(self) -> int:
        """Stop the container by SIGTERM, as Docker does, and return its exit status."""
        run("runc", "kill", CONTAINER, "TERM")
        return self.process.wait(timeout=60)

    def resident_mib(self) -> float:
        """The memory of all processes, with shared memory counted once (PSS)."""
        rolls = [line for pid in self.pids for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()]
        return sum(int(line.split()[1]) for line in rolls if line.startswith("Pss:")) / 1024


@contextmanager
def running(files: Path, image: str) -> Iterator[Container]:
    """Run a container until it is ready; this process joins its network namespace."""
    bundle = FOLDER / "bundle"
    shutil.rmtree(bundle, ignore_errors=True)
    for folder in (bundle, bundle / "spool", bundle / "secrets"):
        folder.mkdir(mode=0o755)
    (bundle / "secrets" / "keys").touch()
    for path in (bundle / "spool", bundle / "secrets" / "keys"):
        os.chown(path, USER, USER)
    (bundle / "config.json").write_text(json.dumps(_bundle(files, inspect(image)["config"], bundle)))
    log, started = bundle / "log", monotonic()
    with log.open("w") as out:
        process = subprocess.Popen(["runc", "run", "--bundle", bundle, CONTAINER], stdout=out, stderr=out)
        try:
            wait_until(lambda: process.poll() is not None or CONTAINER in run("runc", "list", "--quiet"))
            wait_until(lambda: _enter_network(process, log))
            wait_until(lambda: is_ready(ADDRESS))
            yield Container(process, log, monotonic() - started)
        finally:
            process.kill()
            process.wait()
            subprocess.run(["runc", "delete", "--force", CONTAINER], check=False, stderr=subprocess.DEVNULL)


def _enter_network(process: subprocess.Popen, log: Path) -> bool:
    assert process.poll() is None, f"the container stopped: {log.read_text()}"
    pid = json.loads(run("runc", "state", CONTAINER))["pid"]
    if not pid:
        sleep(0.05)
        return False
    with Path(f"/proc/{pid}/ns/net").open() as network:
        return CDLL(None).setns(network.fileno(), NEW_NETWORK) == 0


def _bundle(files: Path, config: dict[str, Any], bundle: Path) -> dict[str, Any]:
    """The OCI runtime configuration: that of the image with a read-only root and without capabilities."""
    return {
        "ociVersion": "1.0.2",
        "root": {"path": str(files), "readonly": True},
        "process": {
            "user": dict(zip(("uid", "gid"), map(int, config["User"].split(":")), strict=True)),
            "args": [*config["Entrypoint"], *config["Cmd"]],
            "env": [*config["Env"], "GLIOSERVE_KEYS_FILE=/run/secrets/keys"],
            "cwd": "/",
            "noNewPrivileges": True,
            "capabilities": {},
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]},
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]},
            _bind(bundle / "spool", next(iter(config["Volumes"]))),
            _bind(bundle / "secrets", "/run/secrets"),
        ],
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")]},
    }


def _bind(source: Path, destination: str) -> dict[str, Any]:
    return {"destination": destination, "type": "bind", "source": str(source), "options": ["bind", "rw"]}
