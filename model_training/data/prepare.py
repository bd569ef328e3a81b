"""Slice cache: BraTS cases, read and normalised once by the segmentation core, as memory-mapped arrays."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from model_training.data.split import SUBSETS, Split
from service.imaging.case import GROUND_TRUTH, Case, check_grid, check_one_grid
from service.imaging.errors import InputError, LabelError
from service.imaging.geometry import resample_mask
from service.imaging.labels import EnhancingLabel, label_map, region_masks
from service.imaging.names import assign_roles, check_complete, is_image_name
from service.imaging.normalise import normalise
from service.imaging.reading import read_case

FILES = ("intensities.npy", "labels.npy", "contents.npy")  # the arrays of a CachedCase
OUTDATED_FILES = ("scores.npy",)  # written by earlier versions


class Content(IntEnum):
    """What a slice contains."""

    EMPTY = 0
    BRAIN = 1
    TUMOUR = 2


@dataclass(frozen=True)
class CachedCase:
    """The axial slices of one case, cropped to the brain, memory-mapped."""

    name: str
    intensities: NDArray[np.float16]  # (S, 4, Y, X), normalised
    labels: NDArray[np.uint8]  # (S, Y, X), in the label numbers of BraTS 2022
    contents: NDArray[np.uint8]  # (S,), the Content of each slice

    @property
    def volumes(self) -> NDArray[np.float32]:
        """The modalities (4, X, Y, S) in the axis order of the pipeline; every access reads and converts them."""
        return self.intensities.transpose(1, 3, 2, 0).astype(np.float32)

    @property
    def has_enhancing(self) -> bool:
        """Whether the case contains enhancing tumour."""
        return bool((self.labels == EnhancingLabel.BRATS_2022).any())


Cases = Mapping[str, list[CachedCase]]  # by subset


def find_cases(data: Path) -> dict[str, Path]:
    """Find every folder with NIfTI files under `data`, by its name, which is the name of the case.

    Raises ValueError if there is no such folder, or if two have the same name.
    """
    walk = os.walk(data, followlinks=True)  # data sets are often assembled from symbolic links
    folders = sorted(Path(folder) for folder, _, files in walk if any(map(is_image_name, files)))
    if not folders:
        raise ValueError(f"{data}: expected one folder with NIfTI files for each case, found none")
    cases = {folder.name: folder for folder in folders}
    if len(cases) < len(folders):
        duplicates = sorted({folder.name for folder in folders if cases[folder.name] != folder})
        raise ValueError(f"{data}: expected every case once, found duplicates: {', '.join(duplicates)}")
    return cases


def read_folder(folder: Path) -> dict[str, bytes]:
    """Read the NIfTI files of one BraTS case by file name, like the files of a request."""
    files = {path.name: path for path in sorted(folder.iterdir()) if is_image_name(path.name)}
    return {name: files[name].read_bytes() for name in chain(*assign_roles(files).values())}


def prepare(data: Path, names: Iterable[str] | None, cache: Path) -> dict[str, str]:
    """Write the named cases, or all, to the cache, except those already there.

    Cases that an earlier version cached are replaced. Returns the names of the cases that cannot be used, with the
    reason.
    """
    folders = find_cases(data)
    skipped = {}
    for name in tqdm(list(names or folders), desc="prepare", unit="case"):
        if not _missing_files(cache / name):
            continue
        try:
            _remove_outdated(cache / name)
            _cache_case(read_case(read_folder(folders.get(name, data / name))), cache / name)
        except (InputError, OSError) as error:
            skipped[name] = str(error)
    return skipped


def open_cache(cache: Path, split: Split) -> dict[str, list[CachedCase]]:
    """Memory-map the cases of a split by subset, without those that `prepare` skipped."""
    return {subset: open_cases(cache, split[subset]) for subset in SUBSETS}


def open_cases(cache: Path, names: Iterable[str] | None = None) -> list[CachedCase]:
    """Memory-map the named cases, or all cases in the cache. Raises ValueError if files of a case are missing."""
    if names is None:
        names = sorted(folder.name for folder in cache.iterdir() if folder.is_dir() and folder.suffix != ".partial")
    return [_open_case(cache / name) for name in names if (cache / name).is_dir()]


def _open_case(folder: Path) -> CachedCase:
    if missing := _missing_files(folder):
        raise ValueError(f"{folder}: expected {', '.join(FILES)}, found no {', '.join(missing)}; run prepare again")
    intensities, labels, contents = (np.load(folder / name, mmap_mode="r") for name in FILES)
    return CachedCase(folder.name, intensities, labels, np.array(contents))


def _missing_files(folder: Path) -> list[str]:
    return [name for name in FILES if not (folder / name).is_file()]


def _remove_outdated(folder: Path) -> None:
    """Remove a case that an earlier version cached. Raises OSError if the folder contains any other files."""
    if folder.is_dir():
        for name in OUTDATED_FILES + FILES:
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()  # fails if the folder is not empty: the cache may be a folder of original data by mistake


def _cache_case(case: Case, folder: Path) -> None:
    check_complete(case)
    if case.ground_truth is None:
        raise LabelError("Ground truth: expected one for training, found none.")
    check_one_grid(case)
    check_grid(GROUND_TRUTH, case.ground_truth, case.reference, case.grid)
    normalised = normalise(case.images)
    masks = {
        region: resample_mask(mask, case.grid, normalised.brain.grid)[normalised.brain.box]
        for region, mask in region_masks(case.ground_truth.voxels).items()
    }
    labels = label_map(masks, EnhancingLabel.BRATS_2022)
    has_brain, has_tumour = normalised.intensities.any(axis=(0, 1, 2)), labels.any(axis=(0, 1))
    contents = np.select([has_tumour, has_brain], [Content.TUMOUR, Content.BRAIN], Content.EMPTY)
    arrays = (
        normalised.intensities.transpose(3, 0, 2, 1).astype(np.float16),
        labels.transpose(2, 1, 0),
        contents.astype(np.uint8),
    )
    partial = folder.with_name(folder.name + ".partial")
    partial.mkdir(parents=True, exist_ok=True)
    for name, array in zip(FILES, arrays, strict=True):
        np.save(partial / name, np.ascontiguousarray(array))
    partial.rename(folder)  # the folder of a case appears only when it is complete
