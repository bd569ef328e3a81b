"""Whether this machine still answers as one did before: the phantom's mask, compared with one that was recorded."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray

from service.errors import SelftestError
from service.lifetime import load_and_warm_up
from service.phantom import encode_phantom, make_phantom
from service.segmentation.errors import InputError
from service.segmentation.labels import Region, region_masks
from service.segmentation.measure import dice
from service.segmentation.model import Model
from service.segmentation.network import precision_name
from service.segmentation.pipeline import segment
from service.segmentation.volume import decode_nifti, encode_nifti
from service.settings import Settings

# In the folder of the weights that gave it. Eight-bit integers are other weights, so they have an answer of their own.
ANSWER, ANSWER_INT8 = "phantom.nii.gz", "phantom.int8.nii.gz"
CURE = "On a machine that answers as it should, `glioserve selftest --record` writes it."
LEAST_DICE = 0.995  # floats of any kind agree to 0.9997, eight-bit integers with floats to 0.991


@dataclass(frozen=True)
class Selftest:
    """What the phantom was answered, and how that agrees with what was recorded."""

    device: str
    precision: str
    seconds: float
    identical: bool  # voxel by voxel
    dice: Mapping[Region, float]  # with the recorded mask

    @property
    def passed(self) -> bool:
        """Whether the answer is the recorded one, but for what number formats and processors change."""
        return min(self.dice.values()) >= LEAST_DICE


def run_selftest(settings: Settings) -> Selftest:
    """Segment the phantom, and compare. Raises SettingsError, WeightsError or, without a record, SelftestError."""
    model = load_and_warm_up(settings)
    recorded = _read(_answer_path(settings, model))
    files = encode_phantom(make_phantom())
    started = perf_counter()
    found = segment(files, model).labels
    seconds = perf_counter() - started
    if found.voxels.shape != recorded.shape:
        raise SelftestError(f"Record: expected a mask of {found.voxels.shape}, found {recorded.shape}. {CURE}")
    found_masks, recorded_masks = region_masks(found.voxels), region_masks(recorded)
    return Selftest(
        device=str(model.device),
        precision=precision_name(model.precision),
        seconds=seconds,
        identical=np.array_equal(found.voxels, recorded),
        dice={region: dice(found_masks[region], recorded_masks[region]) for region in Region},
    )


def record_answer(settings: Settings) -> Path:
    """Write the phantom's mask beside the weights; gives its path. Raises SettingsError, WeightsError or OSError."""
    model = load_and_warm_up(settings)
    path = _answer_path(settings, model)
    path.write_bytes(encode_nifti(segment(encode_phantom(make_phantom()), model).labels))
    return path


def _answer_path(settings: Settings, model: Model) -> Path:
    return settings.weights / (ANSWER_INT8 if model.precision == torch.int8 else ANSWER)


def _read(path: Path) -> NDArray[np.generic]:
    try:
        return decode_nifti(path.read_bytes(), path.name).voxels
    except (OSError, InputError) as error:
        reason = error.strerror if isinstance(error, OSError) else "damage"
        raise SelftestError(
            f"{path}: expected the mask that these weights gave before, found: {reason}. {CURE}"
        ) from error
