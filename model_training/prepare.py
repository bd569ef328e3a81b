"""The slice cache: BraTS folders read and normalised once, by the core that serves, into memory-mapped arrays."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from service.segmentation.case import Case, assign_roles, is_nifti_name, read_case
from service.segmentation.errors import InputError, LabelError
from service.segmentation.geometry import resample
from service.segmentation.labels import EnhancingLabel, label_map, region_masks
from service.segmentation.normalise import normalise
from service.segmentation.volume import Volume

SUBSETS = ("train", "validation", "test")


@dataclass(frozen=True)
class CachedCase:
    """The axial slices of one case's brain box, memory-mapped."""

    name: str
    scores: NDArray[np.float16]  # (S, 4, Y, X), normalised
    labels: NDArray[np.uint8]  # (S, Y, X), with 4 for the enhancing tumour


def read_split(path: Path) -> dict[str, list[str]]:
    """Case names by subset: a JSON object with the lists train, validation and test.

    Raises ValueError where a list is missing, or a case is in two.
    """
    split = json.loads(path.read_text())
    if sorted(split) != sorted(SUBSETS):
        raise ValueError(f"split: expected the lists {', '.join(SUBSETS)}, found {', '.join(sorted(split))}")
    names = [name for subset in SUBSETS for name in split[subset]]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"split: expected every case once, found twice: {', '.join(twice)}")
    return {subset: list(split[subset]) for subset in SUBSETS}


def read_folder(folder: Path) -> dict[str, bytes]:
    """The NIfTI files of one BraTS case folder by name, as a request would bring them."""
    files = {path.name: path for path in sorted(folder.iterdir()) if is_nifti_name(path.name)}
    return {name: files[name].read_bytes() for name in assign_roles(files).values()}


def prepare(data: Path, split: dict[str, list[str]], cache: Path) -> dict[str, str]:
    """Write the cache of every case of a split that is not in it yet; gives the reason for each case left out."""
    left_out = {}
    for name in tqdm([name for subset in SUBSETS for name in split[subset]], desc="prepare", unit="case"):
        if (cache / name).is_dir():
            continue
        try:
            _cache_case(read_case(read_folder(data / name)), cache / name)
        except (InputError, OSError) as error:
            left_out[name] = str(error)
    return left_out


def open_cache(cache: Path, split: dict[str, list[str]]) -> dict[str, list[CachedCase]]:
    """The cases by subset, mapped into memory and not read; those that `prepare` left out are not among them."""
    return {
        subset: [_open_case(cache / name) for name in names if (cache / name).is_dir()]
        for subset, names in split.items()
    }


def _open_case(folder: Path) -> CachedCase:
    scores, labels = (np.load(folder / f"{array}.npy", mmap_mode="r") for array in ("scores", "labels"))
    return CachedCase(folder.name, scores, labels)


def _cache_case(case: Case, folder: Path) -> None:
    if case.ground_truth is None:
        raise LabelError("Ground truth: expected one to train on, found none.")
    normalised = normalise(case.images)
    masks = {
        region: resample(Volume(mask, case.grid.affine), normalised.grid)[normalised.box] >= 0.5
        for region, mask in region_masks(case.ground_truth.voxels).items()
    }
    labels = label_map(masks, EnhancingLabel.BRATS_2022)
    partial = folder.with_name(folder.name + ".partial")
    partial.mkdir(parents=True, exist_ok=True)
    np.save(partial / "scores.npy", np.ascontiguousarray(normalised.scores.transpose(3, 0, 2, 1), dtype=np.float16))
    np.save(partial / "labels.npy", np.ascontiguousarray(labels.transpose(2, 1, 0)))
    partial.rename(folder)  # so that a case is in the cache whole or not at all
