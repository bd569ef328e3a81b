"""The container image, built and run without a daemon: by buildah and runc, on a base that debootstrap makes.

Needs root, and Debian's packages buildah, debootstrap and runc.
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

from serving import answers_ready, wait_until

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "build" / "image"
BASE = "localhost/glioserve-base"
TOOLS = "buildah", "debootstrap", "runc"
RELEASE, PYTHON = "bookworm", "3.11"  # Debian's, and the Python that it has
USER = 10001
ADDRESS = "http://127.0.0.1:8000"
CONTAINER = "glioserve-image-test"
WITHOUT_DAEMON = {"STORAGE_DRIVER": "vfs", "BUILDAH_ISOLATION": "chroot"}
NEW_NETWORK = 0x40000000  # CLONE_NEWNET, of setns(2)


def run(*command: object, **options: Any) -> str:
    """What a command prints; fails where it fails."""
    environment = os.environ | WITHOUT_DAEMON
    return subprocess.run(
        [str(word) for word in command], check=True, stdout=subprocess.PIPE, text=True, env=environment, **options
    ).stdout.strip()


def make_base() -> None:
    """An image of a smallest Debian with its Python, where there is none yet."""
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
    """A folder of all that is locked, fetched by this machine's pip, so that the build itself needs no network."""
    wheels = FOLDER / "wheels"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    command += ["--only-binary=:all:", f"--python-version={PYTHON}", f"--dest={wheels}"]
    run(*command, *(f"--requirement=docker/requirements{flavour}.txt" for flavour in ("", "-cpu")), cwd=ROOT)
    return wheels


def build(tag: str) -> str:
    """Build the image for CPUs, and give its name."""
    name = f"localhost/glioserve-test:{tag}"
    timestamp = run("git", "log", "-1", "--format=%ct", cwd=ROOT)  # buildah's word for SOURCE_DATE_EPOCH
    builder = f"buildah build --quiet --format docker --timestamp {timestamp} --volume {FOLDER / 'wheels'}:/wheels:ro"
    offline = "PIP_FIND_LINKS=/wheels", "PIP_NO_INDEX=1"
    if name in run("buildah", "images", "--format", "{{.Name}}:{{.Tag}}").split():
        run("buildah", "rmi", "--force", name)  # or else each run leaves one without a name
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
    """The files of an image."""
    container = run("buildah", "from", image)
    try:
        yield Path(run("buildah", "mount", container))
    finally:
        run("buildah", "rm", container)


def inspect(image: str) -> dict[str, Any]:
    """What an image says of itself: its configuration, and its layers by hash."""
    described: dict[str, Any] = json.loads(run("buildah", "inspect", "--type", "image", image))["Docker"]
    return described


@dataclass(frozen=True)
class Container:
    """The service in its container."""

    process: subprocess.Popen
    log: Path
    seconds_to_ready: float

    @property
    def pids(self) -> list[int]:
        """Its processes; the first is the one that signals go to."""
        return [int(pid) for pid in json.loads(run("runc", "ps", "--format", "json", CONTAINER))]

    def execute(self, *command: str) -> subprocess.CompletedProcess:
        """Run a command in it."""
        return subprocess.run(
            ["runc", "exec", CONTAINER, *command], capture_output=True, text=True, timeout=120, check=False
        )

    def end(self) -> int:
        """Tell it to end, as Docker does; gives its exit status."""
        run("runc", "kill", CONTAINER, "TERM")
        return self.process.wait(timeout=60)

    def resident_mib(self) -> float:
        """The memory of all its processes, where what they share counts once (PSS)."""
        rolls = [line for pid in self.pids for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()]
        return sum(int(line.split()[1]) for line in rolls if line.startswith("Pss:")) / 1024


@contextmanager
def running(files: Path, image: str) -> Iterator[Container]:
    """A container that is ready; this process comes into its network, where nobody else is."""
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
            wait_until(lambda: answers_ready(ADDRESS))
            yield Container(process, log, monotonic() - started)
        finally:
            process.kill()
            process.wait()
            subprocess.run(["runc", "delete", "--force", CONTAINER], check=False, stderr=subprocess.DEVNULL)


def _enter_network(process: subprocess.Popen, log: Path) -> bool:
    assert process.poll() is None, f"the container ended: {log.read_text()}"
    pid = json.loads(run("runc", "state", CONTAINER))["pid"]
    if not pid:
        sleep(0.05)
        return False
    with Path(f"/proc/{pid}/ns/net").open() as network:
        return CDLL(None).setns(network.fileno(), NEW_NETWORK) == 0


def _bundle(files: Path, config: dict[str, Any], bundle: Path) -> dict[str, Any]:
    """An OCI runtime configuration: the image's own, on a root that cannot be written, with no capability at all."""
    return {
        "ociVersion": "1.0.2",
        "root": {"path": str(files), "readonly": True},
        "process": {
            "user": dict(zip(("uid", "gid"), map(int, config["User"].split(":")), strict=True)),
            "args": [*config["Entrypoint"], *config["Cmd"]],
            "env": [*config["Env"], "GLIOSERVE_KEYS=/run/secrets/keys"],
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
