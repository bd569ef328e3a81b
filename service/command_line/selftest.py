"""Self-test: segment the phantom, and compare its label map with the one recorded for these weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray

from service.errors import SelftestError
from service.imaging.errors import InputError
from service.imaging.formats import decode
from service.imaging.labels import Region, region_masks
from service.imaging.nifti import encode_nifti
from service.imaging.phantom import encode_phantom, make_phantom
from service.loading import load_and_warm_up
from service.networks.model import Model
from service.networks.precision import precision_name
from service.segmentation.measure import dice
from service.segmentation.pipeline import segment
from service.settings import Settings

# Recorded label maps, in the folder of the weights. INT8 networks have other weights, so another label map.
RECORD, RECORD_INT8 = "phantom.nii.gz", "phantom.int8.nii.gz"
FIX = "`glioserve selftest --record`, on a machine that works correctly, writes it."
MIN_DICE = 0.995  # Dice between floating-point data types is 0.9997, between them and INT8 0.991


@dataclass(frozen=True)
class Selftest:
    """How this machine's mask of the phantom compares with the recorded one."""

    device: str
    precision: str
    seconds: float
    is_identical: bool  # voxel by voxel
    dice: Mapping[Region, float]

    @property
    def has_passed(self) -> bool:
        """Whether the masks agree, apart from differences between data types and processors."""
        return min(self.dice.values()) >= MIN_DICE


def run_selftest(settings: Settings) -> Selftest:
    """Segment the phantom, and compare. Raises SettingsError, WeightsError or, without a record, SelftestError."""
    model = load_and_warm_up(settings)
    recorded = _read(_record_path(settings, model))
    files = encode_phantom(make_phantom())
    started = perf_counter()
    found = segment(files, model).labels
    seconds = perf_counter() - started
    if found.voxels.shape != recorded.shape:
        raise SelftestError(f"Record: expected a mask of {found.voxels.shape}, found {recorded.shape}. {FIX}")
    found_masks, recorded_masks = region_masks(found.voxels), region_masks(recorded)
    return Selftest(
        device=str(model.device),
        precision=precision_name(model.precision),
        seconds=seconds,
        is_identical=np.array_equal(found.voxels, recorded),
        dice={region: dice(found_masks[region], recorded_masks[region]) for region in Region},
    )


def record_mask(settings: Settings) -> Path:
    """Write the phantom's mask beside the weights; return its path. Raises SettingsError, WeightsError or OSError."""
    model = load_and_warm_up(settings)
    path = _record_path(settings, model)
    path.write_bytes(encode_nifti(segment(encode_phantom(make_phantom()), model).labels))
    return path


def _record_path(settings: Settings, model: Model) -> Path:
    return settings.weights / (RECORD_INT8 if model.precision == torch.int8 else RECORD)


def _read(path: Path) -> NDArray[np.generic]:
    try:
        return decode(path.read_bytes(), path.name).voxels
    except (OSError, InputError) as error:
        reason = error.strerror if isinstance(error, OSError) else "damage"
        raise SelftestError(f"{path}: expected the recorded mask of these weights, found: {reason}. {FIX}") from error
