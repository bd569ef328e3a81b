"""The slice cache: BraTS folders read and normalised once, by the core that serves, into memory-mapped arrays."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from model_training.split import SUBSETS, Split
from service.segmentation.case import Case, assign_roles, is_nifti_name, read_case
from service.segmentation.errors import InputError, LabelError
from service.segmentation.geometry import resample_mask
from service.segmentation.labels import EnhancingLabel, label_map, region_masks
from service.segmentation.normalise import normalise

ARRAYS = ("scores", "labels", "contents")  # of a CachedCase, a file each


class Content(IntEnum):
    """What is in a slice."""

    NOTHING = 0
    BRAIN = 1
    TUMOUR = 2


@dataclass(frozen=True)
class CachedCase:
    """The axial slices of one case's brain box, memory-mapped."""

    name: str
    scores: NDArray[np.float16]  # (S, 4, Y, X), normalised
    labels: NDArray[np.uint8]  # (S, Y, X), with 4 for the enhancing tumour
    contents: NDArray[np.uint8]  # (S,), a Content for each slice

    @property
    def volumes(self) -> NDArray[np.float32]:
        """The modalities (4, X, Y, S), as the pipeline has them."""
        return self.scores.transpose(1, 3, 2, 0).astype(np.float32)

    @property
    def has_enhancing(self) -> bool:
        """Whether there is any enhancing tumour."""
        return bool((self.labels == EnhancingLabel.BRATS_2022).any())


Cases = Mapping[str, list[CachedCase]]  # by subset


def find_cases(data: Path) -> dict[str, Path]:
    """The folders that hold NIfTI files anywhere below a folder, by their names, which are the names of the cases.

    Raises ValueError where there is none, or two have one name.
    """
    walk = os.walk(data, followlinks=True)  # data sets are often put together of links
    folders = sorted(Path(folder) for folder, _, files in walk if any(map(is_nifti_name, files)))
    if not folders:
        raise ValueError(f"{data}: expected folders with NIfTI files, one a case; found none")
    cases = {folder.name: folder for folder in folders}
    if len(cases) < len(folders):
        twice = sorted({folder.name for folder in folders if cases[folder.name] != folder})
        raise ValueError(f"{data}: expected every case once, found twice: {', '.join(twice)}")
    return cases


def read_folder(folder: Path) -> dict[str, bytes]:
    """The NIfTI files of one BraTS case folder by name, as a request would bring them."""
    files = {path.name: path for path in sorted(folder.iterdir()) if is_nifti_name(path.name)}
    return {name: files[name].read_bytes() for name in assign_roles(files).values()}


def prepare(data: Path, names: Iterable[str] | None, cache: Path) -> dict[str, str]:
    """Write the named cases, or all, into the cache, less those that are in it; gives the reason for each left out."""
    folders = find_cases(data)
    left_out = {}
    for name in tqdm(list(names or folders), desc="prepare", unit="case"):
        if (cache / name).is_dir():
            continue
        try:
            _cache_case(read_case(read_folder(folders.get(name, data / name))), cache / name)
        except (InputError, OSError) as error:
            left_out[name] = str(error)
    return left_out


def open_cache(cache: Path, split: Split) -> dict[str, list[CachedCase]]:
    """The cases by subset, mapped into memory and not read; those that `prepare` left out are not among them."""
    return {subset: open_cases(cache, split[subset]) for subset in SUBSETS}


def open_cases(cache: Path, names: Iterable[str] | None = None) -> list[CachedCase]:
    """The named cases, or all that are in the cache."""
    if names is None:
        names = sorted(folder.name for folder in cache.iterdir() if folder.is_dir() and folder.suffix != ".partial")
    return [_open_case(cache / name) for name in names if (cache / name).is_dir()]


def _open_case(folder: Path) -> CachedCase:
    scores, labels, contents = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ARRAYS)
    return CachedCase(folder.name, scores, labels, np.array(contents))


def _cache_case(case: Case, folder: Path) -> None:
    if case.ground_truth is None:
        raise LabelError("Ground truth: expected one to train on, found none.")
    normalised = normalise(case.images)
    masks = {
        region: resample_mask(mask, case.grid, normalised.grid)[normalised.box]
        for region, mask in region_masks(case.ground_truth.voxels).items()
    }
    labels = label_map(masks, EnhancingLabel.BRATS_2022)
    has_brain, has_tumour = normalised.scores.any(axis=(0, 1, 2)), labels.any(axis=(0, 1))
    contents = np.select([has_tumour, has_brain], [Content.TUMOUR, Content.BRAIN], Content.NOTHING)
    arrays = (
        normalised.scores.transpose(3, 0, 2, 1).astype(np.float16),
        labels.transpose(2, 1, 0),
        contents.astype(np.uint8),
    )
    partial = folder.with_name(folder.name + ".partial")
    partial.mkdir(parents=True, exist_ok=True)
    for name, array in zip(ARRAYS, arrays, strict=True):
        np.save(partial / f"{name}.npy", np.ascontiguousarray(array))
    partial.rename(folder)  # so that a case is in the cache whole or not at all
