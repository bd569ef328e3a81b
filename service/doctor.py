"""What the service would find on this machine, and what to do where that will not do."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import disk_usage

import torch

from service.app import create_app
from service.bench.device_memory import predict_peak_mib
from service.device import choose_precision, describe_machine, usable_memory_mib
from service.errors import SettingsError
from service.keys import KeyFile
from service.nvidia import describe_card, driver_version, find_obstacle, newest_cuda
from service.segmentation.errors import WeightsError
from service.segmentation.model import SLICE_BATCH, Model
from service.segmentation.network import precision_name
from service.segmentation.weights import load_model
from service.server import Server
from service.settings import MIB, Settings, read_settings, read_settings_offline
from service.spool import is_spool

NEEDED_MIB = 1536  # of main memory: half as much again as was measured at most (docs/performance.md)
NETWORK_DISKS = {"nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "fuse.glusterfs", "ceph"}
MOUNTS = Path("/proc/self/mounts")


@dataclass(frozen=True)
class Finding:
    """One thing about this machine, and what to do where the service cannot live with it."""

    subject: str
    found: str
    cure: str = ""  # empty where all is well


def examine(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Everything that decides whether, and on what, the service would run with the settings of an environment."""
    are_usable = True
    try:
        settings = read_settings(environment)
    except SettingsError as error:
        are_usable = False
        yield Finding("settings", "not usable", str(error))
        try:
            settings = read_settings_offline(environment)
        except SettingsError:
            return
    device = torch.device("cuda" if settings.device != "cpu" and find_obstacle() is None else "cpu")
    yield from _examine_card(settings)
    yield from _examine_weights(settings, device)
    yield _examine_memory()
    yield _examine_spool(settings)
    if are_usable or settings.keys:  # who may call without keys, only the real settings tell
        yield _examine_keys(settings)
    yield from _examine_tls(settings)


def _examine_card(settings: Settings) -> Iterator[Finding]:
    built_for = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPUs"
    yield Finding("torch", f"{torch.__version__}, a build for {built_for}")
    version, newest, obstacle = driver_version(), newest_cuda(), find_obstacle()
    if version:
        cuda = f"runs CUDA up to {newest[0]}.{newest[1]}" if newest else "whose library is not here"
        yield Finding("driver", f"NVIDIA {version}, {cuda}")
    if obstacle is None:
        yield Finding("card", f"{describe_card()}, which this build supports")
    elif version or settings.device == "cuda":
        yield Finding("card", obstacle.found, obstacle.cure if settings.device != "cpu" else "")
    else:
        yield Finding("card", "none; the CPU computes")


def _examine_weights(settings: Settings, device: torch.device) -> Iterator[Finding]:
    """The weights, how they run, and on a card what they take of it."""
    cpu = torch.device("cpu")
    try:
        model = load_model(settings.weights, cpu, quantised=settings.precision in ("auto", "int8"))
        for checkpoint in model.checkpoints:
            yield Finding(f"weights {checkpoint.card.stem}", f"sha256 {checkpoint.card.sha256}, as its card says")
        yield Finding("weights", f"{model.name} {model.version}, sha256 {model.sha256} in reports")
        precision = replace(model, device=device).optimised(choose_precision(settings.precision)).precision
        yield Finding("computes", f"on {describe_machine(device)}, in {precision_name(precision)}")
        if device.type == "cuda":
            yield _examine_card_memory(settings, model, precision)
    except OSError as error:
        yield Finding("weights", f"{error.filename}: {error.strerror}", f"let user {os.getuid()} read them")
    except WeightsError as error:
        yield Finding(
            "weights",
            f"{settings.weights}: {error}",
            "install them again, or set GLIOSERVE_WEIGHTS or GLIOSERVE_PRECISION",
        )
    except RuntimeError as error:  # the networks do not get onto the card
        yield Finding("card", str(error).partition("\n")[0], "see in nvidia-smi whether it is full, or broken")


def _examine_card_memory(settings: Settings, model: Model, precision: torch.dtype) -> Finding:
    predicted = predict_peak_mib(model, precision, SLICE_BATCH)
    free, total = (size / MIB for size in torch.cuda.mem_get_info())
    found = (
        f"{total:.0f} MiB, {free:.0f} free; GLIOSERVE_DEVICE_MEMORY_MIB allows {settings.device_memory_mib}; "
        f"batches of {SLICE_BATCH} slices are predicted to take {predicted:.0f}, without what CUDA itself takes"
    )
    is_enough = predicted <= min(free, settings.device_memory_mib)
    cure = "end what else runs on the card, or allow more; the service would go on in smaller batches or on the CPU"
    return Finding("card memory", found, "" if is_enough else cure)


def _examine_memory() -> Finding:
    usable = usable_memory_mib()
    found = f"{usable} MiB for this process; {NEEDED_MIB} are enough, whatever the queue"
    return Finding("memory", found, "" if usable >= NEEDED_MIB else "give the machine, or the container, more")


def _examine_spool(settings: Settings) -> Finding:
    try:
        folder = settings.spool.expanduser().absolute()
        nearest = next(path for path in (folder, *folder.parents) if path.exists())
        free = disk_usage(nearest).free // MIB
        found = f"{folder}: {free} MiB free, and up to {settings.max_spool_mib} may be used"
        return Finding("spool", found, _cure_spool(settings, folder, nearest, free))
    except (OSError, RuntimeError) as error:  # RuntimeError: a user without a home
        reason = error.strerror if isinstance(error, OSError) else error
        return Finding(
            "spool", f"{settings.spool}: {reason}", f"set GLIOSERVE_SPOOL to where user {os.getuid()} may be"
        )


def _cure_spool(settings: Settings, folder: Path, nearest: Path, free_mib: int) -> str:
    """What to do about a folder, of which a parent may be the nearest that is there; empty where it will do."""
    if not (nearest.is_dir() and os.access(nearest, os.R_OK | os.W_OK | os.X_OK)):
        return f"let user {os.getuid()} write there, or set GLIOSERVE_SPOOL"
    if nearest == folder and os.getuid() not in (0, folder.stat().st_uid):
        return f"it has to belong to user {os.getuid()}, who keeps others out: chown it"
    if nearest == folder and not is_spool(folder):
        return "it has files of others: set GLIOSERVE_SPOOL to a folder that is new, or empty"
    if (kind := _file_system(nearest)) in NETWORK_DISKS:
        return f"it is on a network disk ({kind}), where the records of jobs may break: take a local one"
    if free_mib < settings.max_spool_mib:
        return "make room, or lower GLIOSERVE_MAX_SPOOL_MIB: what finds no room is refused"
    return ""


def _file_system(path: Path) -> str:
    """The kind of the file system that a path is on."""
    mounts = [line.split()[1:3] for line in MOUNTS.read_text().splitlines()]
    return max((len(point), kind) for point, kind in mounts if path.is_relative_to(point))[1]


def _examine_keys(settings: Settings) -> Finding:
    if settings.keys is None:
        only = "this machine alone may call" if settings.for_this_machine else "whoever reaches the port may call"
        return Finding("keys", f"nobody needs one, and {only}")
    try:
        in_force = sum(not key.revoked for key in KeyFile(settings.keys).read().values())
    except SettingsError as error:
        return Finding("keys", "not usable", str(error))
    return Finding("keys", f"{in_force} in force", "" if in_force else "nobody gets in: `glioserve keys add NAME`")


def _examine_tls(settings: Settings) -> Iterator[Finding]:
    if settings.tls_certificate:
        try:
            Server(create_app(settings))
            yield Finding("tls", "certificate and key fit")
        except SettingsError as error:
            yield Finding("tls", "not usable", str(error))
