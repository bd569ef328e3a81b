"""Checks of the machine: what the service would find, and how to fix what would keep it from working."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import disk_usage

import torch

from service.app import create_app
from service.errors import SettingsError
from service.jobs.spool import is_spool
from service.machine.device import choose_precision, describe_machine, usable_memory_mib
from service.machine.device_memory import predict_peak_mib
from service.machine.nvidia import describe_gpu, driver_version, find_gpu_problem, newest_cuda
from service.networks.checkpoints import load_model
from service.networks.errors import WeightsError
from service.networks.model import DEFAULT_BATCH_SIZE, Model
from service.networks.precision import precision_name
from service.security.keys import KeyFile
from service.settings import MIB, Settings, read_settings, read_settings_offline
from service.web.server import Server

NEEDED_MIB = 1536  # main memory: one and a half times the measured maximum (docs/performance.md)
NETWORK_FILE_SYSTEMS = {"nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "fuse.glusterfs", "ceph"}
MOUNTS = Path("/proc/self/mounts")


@dataclass(frozen=True)
class Finding:
    """The result of one check, and how to fix it if it failed."""

    subject: str
    found: str
    fix: str = ""  # empty if the check passed


def examine(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Check everything that decides whether, and on which device, the service runs with these settings."""
    are_usable = True
    try:
        settings = read_settings(environment)
    except SettingsError as error:
        are_usable = False
        yield Finding("settings", "invalid", str(error))
        try:
            settings = read_settings_offline(environment)
        except SettingsError:
            return
    device = torch.device("cuda" if settings.device != "cpu" and find_gpu_problem() is None else "cpu")
    yield from _examine_gpu(settings)
    yield from _examine_weights(settings, device)
    yield _examine_memory()
    yield _examine_spool(settings)
    if are_usable or settings.keys_file:  # with invalid settings, access without keys is undefined
        yield _examine_keys(settings)
    yield from _examine_tls(settings)


def _examine_gpu(settings: Settings) -> Iterator[Finding]:
    built_for = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPUs"
    yield Finding("torch", f"{torch.__version__}, a build for {built_for}")
    version, newest, problem = driver_version(), newest_cuda(), find_gpu_problem()
    if version:
        cuda = f"supports CUDA up to {newest[0]}.{newest[1]}" if newest else "its library is missing"
        yield Finding("driver", f"NVIDIA {version}, {cuda}")
    if problem is None:
        yield Finding("GPU", f"{describe_gpu()}, supported by this build")
    elif version or settings.device == "cuda":
        yield Finding("GPU", problem.found, problem.fix if settings.device != "cpu" else "")
    else:
        yield Finding("GPU", "none; the CPU is used")


def _examine_weights(settings: Settings, device: torch.device) -> Iterator[Finding]:
    """The weights, how they would run and, on a GPU, how much of its memory they need."""
    cpu = torch.device("cpu")
    try:
        model = load_model(settings.weights, cpu, with_int8=settings.precision in ("auto", "int8"))
        for checkpoint in model.checkpoints:
            yield Finding(f"weights {checkpoint.card.stem}", f"sha256 {checkpoint.card.sha256}, as on its model card")
        yield Finding("weights", f"{model.name} {model.version}, sha256 {model.sha256} in reports")
        precision = replace(model, device=device).optimised(choose_precision(settings.precision)).precision
        yield Finding("device", f"{describe_machine(device)}, in {precision_name(precision)}")
        if device.type == "cuda":
            yield _examine_gpu_memory(settings, model, precision)
    except OSError as error:
        yield Finding("weights", f"{error.filename}: {error.strerror}", f"make them readable for user {os.getuid()}")
    except WeightsError as error:
        yield Finding(
            "weights",
            f"{settings.weights}: {error}",
            "install them again, or set GLIOSERVE_WEIGHTS or GLIOSERVE_PRECISION",
        )
    except RuntimeError as error:  # the networks cannot be moved to the GPU
        yield Finding("GPU", str(error).partition("\n")[0], "check with nvidia-smi whether its memory is full")


def _examine_gpu_memory(settings: Settings, model: Model, precision: torch.dtype) -> Finding:
    predicted = predict_peak_mib(model, precision, DEFAULT_BATCH_SIZE)
    free, total = (size / MIB for size in torch.cuda.mem_get_info())
    found = (
        f"{total:.0f} MiB, {free:.0f} free; GLIOSERVE_DEVICE_MEMORY_MIB allows {settings.device_memory_mib}; "
        f"batches of {DEFAULT_BATCH_SIZE} slices are predicted to need {predicted:.0f}, besides the CUDA context"
    )
    is_enough = predicted <= min(free, settings.device_memory_mib)
    fix = "stop other GPU programs, or raise GLIOSERVE_DEVICE_MEMORY_MIB; otherwise smaller batches or the CPU are used"
    return Finding("GPU memory", found, "" if is_enough else fix)


def _examine_memory() -> Finding:
    usable = usable_memory_mib()
    found = f"{usable} MiB available; {NEEDED_MIB} are sufficient for any queue"
    return Finding("memory", found, "" if usable >= NEEDED_MIB else "give the machine, or the container, more memory")


def _examine_spool(settings: Settings) -> Finding:
    try:
        folder = settings.spool.expanduser().absolute()
        nearest = next(path for path in (folder, *folder.parents) if path.exists())
        free = disk_usage(nearest).free // MIB
        found = f"{folder}: {free} MiB free, of which up to {settings.max_spool_mib} may be used"
        return Finding("spool", found, _spool_fix(settings, folder, nearest, free))
    except (OSError, RuntimeError) as error:  # RuntimeError: a user without a home
        reason = error.strerror if isinstance(error, OSError) else error
        fix = f"set GLIOSERVE_SPOOL to a folder that user {os.getuid()} can access"
        return Finding("spool", f"{settings.spool}: {reason}", fix)


def _spool_fix(settings: Settings, folder: Path, nearest: Path, free_mib: int) -> str:
    """How to fix the spool; empty if it is usable. `nearest` is the folder, or its nearest existing parent."""
    if not (nearest.is_dir() and os.access(nearest, os.R_OK | os.W_OK | os.X_OK)):
        return f"make it writable for user {os.getuid()}, or set GLIOSERVE_SPOOL"
    if nearest == folder and os.getuid() not in (0, folder.stat().st_uid):
        return f"it must belong to user {os.getuid()}, to be private: chown it"
    if nearest == folder and not is_spool(folder):
        return "it contains other files: set GLIOSERVE_SPOOL to a new or empty folder"
    if (kind := _file_system(nearest)) in NETWORK_FILE_SYSTEMS:
        return f"it is on a network file system ({kind}), where job records may be corrupted: use a local disk"
    if free_mib < settings.max_spool_mib:
        return "free disk space, or lower GLIOSERVE_MAX_SPOOL_MIB: uploads that do not fit are rejected"
    return ""


def _file_system(path: Path) -> str:
    """Type of the file system that a path is on."""
    mounts = [line.split()[1:3] for line in MOUNTS.read_text().splitlines()]
    return max((len(point), kind) for point, kind in mounts if path.is_relative_to(point))[1]


def _examine_keys(settings: Settings) -> Finding:
    if settings.keys_file is None:
        who = "only this machine may call" if settings.is_loopback_only else "anyone who reaches the port may call"
        return Finding("keys", f"not required; {who}")
    try:
        active = sum(not key.revoked for key in KeyFile(settings.keys_file).read().values())
    except SettingsError as error:
        return Finding("keys", "unusable", str(error))
    fix = "every request would be rejected: create a key with `glioserve keys add NAME`"
    return Finding("keys", f"{active} active", "" if active else fix)


def _examine_tls(settings: Settings) -> Iterator[Finding]:
    if settings.tls_certificate:
        try:
            Server(create_app(settings))
            yield Finding("TLS", "certificate and key match")
        except SettingsError as error:
            yield Finding("TLS", "unusable", str(error))
