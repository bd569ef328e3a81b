"""Preprocessing of the networks' input: one function that training and serving share."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import reduce
from math import isfinite
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from service.imaging.case import Modality
from service.imaging.errors import IntensityError
from service.imaging.geometry import at_least_half, bounding_box, resample, working_grid
from service.imaging.volume import Grid, Volume

Number = TypeVar("Number", bound=np.generic)

ROUNDING = 1e-5  # relative; resampling alone makes a constant image vary by less
MODALITIES_IN_PARALLEL = 2  # each takes about 40 MiB while it is normalised, beside a case that is computed
NORMALISATION = "z-score over the brain"  # what a model card must say for the model to be used with this function


@dataclass(frozen=True)
class BrainBox:
    """Where the brain lies in the working grid."""

    grid: Grid  # LPS, 1 mm
    box: tuple[slice, slice, slice]  # bounding box of the brain within the grid
    brain_ml: float

    def uncrop(self, voxels: NDArray[Number]) -> NDArray[Number]:
        """Pad voxels of the box, such as a mask, with zeros to the whole grid."""
        whole = np.zeros(self.grid.shape, dtype=voxels.dtype, order="F")
        whole[self.box] = voxels
        return whole


@dataclass(frozen=True)
class NormalisedCase:
    """Normalised modalities, cropped to the brain."""

    intensities: NDArray[np.float32]  # (4, X, Y, Z), zero outside the brain and for a missing modality
    brain: BrainBox


def normalise(images: Mapping[Modality, Volume], brain_mask: Volume | None = None) -> NormalisedCase:
    """Resample the modalities to an LPS, 1 mm grid, crop them to the brain and normalise them.

    Without a brain mask, the images must be on one grid, and the brain is every voxel that is not exactly zero in at
    least one modality. Not "above zero": interpolation leaves negative intensities inside real brains.
    Raises GeometryError, and IntensityError if there is no brain or a modality cannot be normalised.
    """
    brain_image = brain_mask or _not_zero(images)
    grid = working_grid(brain_image.grid)
    brain_fraction = resample(Volume(brain_image.voxels != 0, brain_image.affine), grid)
    brain = at_least_half(brain_fraction)
    if not brain.any():
        raise IntensityError("Expected a brain, found zero in every voxel of every modality.")
    box = bounding_box(brain)
    x, y, z = brain[box].shape
    # In the memory order of NIfTI files, with the modalities of a voxel adjacent, which is fastest for convolutions.
    intensities = np.empty((z, y, x, len(Modality)), dtype=np.float32).transpose(3, 2, 1, 0)

    def fill(modality: Modality, channel: NDArray[np.float32]) -> None:
        if modality not in images:
            channel[:] = 0
            return
        image = resample(images[modality], grid, box).astype(np.float32)
        seen = brain[box]
        if brain_mask:
            seen = seen & (image != 0)  # a series may cover a part of the brain only
        else:  # interpolation mixes background into voxels at the edge of the brain; this undoes it
            image /= np.maximum(brain_fraction[box], np.float32(0.5))
        channel[:] = z_score(modality, image, seen)

    with ThreadPoolExecutor(MODALITIES_IN_PARALLEL) as threads:
        list(threads.map(fill, Modality, intensities))
    return NormalisedCase(intensities, BrainBox(grid, box, int(np.count_nonzero(brain)) * grid.voxel_ml))


def _not_zero(images: Mapping[Modality, Volume]) -> Volume:
    """Where at least one of the images on one grid is not zero."""
    first, *_ = images.values()
    return Volume(reduce(np.logical_or, (image.voxels != 0 for image in images.values())), first.affine)


def z_score(modality: Modality, image: NDArray[np.float32], brain: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Subtract the mean of an image (X, Y, Z) and divide by its standard deviation; zero outside the brain.

    Mean and standard deviation are taken over the brain (X, Y, Z), whereas the paper (section III.A) takes the whole
    volume: background fills most of it, and the amount of background depends on the crop, not on the patient.
    Raises IntensityError for an image that is not finite, too large, or constant.
    """
    inside = image.T.ravel().take(np.flatnonzero(brain.T))  # ten times as fast as image[brain], in file order
    if not np.isfinite(inside).all():
        raise IntensityError(f"{modality}: expected finite intensities, found NaN or infinity.")
    mean = float(inside.mean(dtype=np.float64))
    with np.errstate(over="ignore"):
        deviation = float(np.square(inside - mean).mean(dtype=np.float64)) ** 0.5
    if not isfinite(deviation):  # every z-score would be zero
        raise IntensityError(
            f"{modality}: expected intensities whose squares fit into float32, found up to {inside.max():g}."
        )
    if deviation <= ROUNDING * abs(mean):
        raise IntensityError(f"{modality}: expected varying intensities, found {inside[0]:g} throughout the brain.")
    normalised = image - mean
    normalised /= deviation
    normalised *= brain
    return normalised
