"""The networks' input, made by the one function that training and serving share."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import reduce
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from service.segmentation.case import Modality
from service.segmentation.errors import IntensityError
from service.segmentation.geometry import at_least_half, bounding_box, resample, working_grid
from service.segmentation.volume import Grid, Volume

ROUNDING = 1e-5  # relative; resampling alone makes a constant image vary by less
IMAGES_AT_ONCE = 2  # each takes some 40 MiB for as long as it lasts, beside a case that is computed
NORMALISATION = "z-score over the brain"  # what a checkpoint's card must say to be served with this function


@dataclass(frozen=True)
class NormalisedCase:
    """Normalised modalities within the brain's box, and where that box lies."""

    scores: NDArray[np.float32]  # (4, X, Y, Z), zero outside the brain
    box: tuple[slice, slice, slice]  # within the grid
    grid: Grid  # LPS, 1 mm
    brain_ml: float

    def without_scores(self) -> "NormalisedCase":
        """The same once the networks have run: what lies where, without what takes the memory."""
        return replace(self, scores=self.scores[:, :0].copy())

    def uncrop(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """A mask of the box as a mask of the whole grid."""
        whole = np.zeros(self.grid.shape, dtype=np.bool_, order="F")
        whole[self.box] = mask
        return whole


def normalise(images: Mapping[Modality, Volume]) -> NormalisedCase:
    """The four modalities of a case on an LPS, 1 mm grid, cropped to the brain and normalised.

    Brain is what is not exactly zero in some modality. Not "above zero": interpolation leaves negative intensities
    inside real brains.
    Raises GeometryError, and IntensityError where there is no brain or a modality cannot be normalised.
    """
    grid = working_grid(images[Modality.T1].grid)
    not_zero = reduce(np.logical_or, (images[modality].voxels != 0 for modality in Modality))
    brain_share = resample(Volume(not_zero, images[Modality.T1].affine), grid)
    brain = at_least_half(brain_share)
    if not brain.any():
        raise IntensityError("Expected a brain, found zero in every voxel of every modality.")
    box = bounding_box(brain)
    # Interpolation mixes air into the rim of the brain; dividing by the brain's share takes it out again.
    rim = np.maximum(brain_share[box], np.float32(0.5))
    x, y, z = rim.shape
    # As a scan lies in its file, and with the modalities of a voxel side by side, as convolutions read them fastest.
    scores = np.empty((z, y, x, len(Modality)), dtype=np.float32).transpose(3, 2, 1, 0)

    def fill(modality: Modality, score: NDArray[np.float32]) -> None:
        image = resample(images[modality], grid)[box].astype(np.float32)
        image /= rim
        score[:] = z_score(modality, image, brain[box])

    with ThreadPoolExecutor(IMAGES_AT_ONCE) as threads:
        list(threads.map(fill, Modality, scores))
    return NormalisedCase(scores, box, grid, brain_ml=int(np.count_nonzero(brain)) * grid.voxel_ml)


def z_score(modality: Modality, image: NDArray[np.float32], brain: NDArray[np.bool_]) -> NDArray[np.float32]:
    """An image (X, Y, Z) less its mean, over its standard deviation; zero outside the brain.

    Mean and deviation are taken over the brain (X, Y, Z), where the paper (section III.A) takes the volume: air fills
    most of a volume, and how much of it depends on the crop, not on the patient.
    Raises IntensityError for an image that is not finite, too large, or constant.
    """
    inside = image.T.ravel().take(np.flatnonzero(brain.T))  # ten times as fast as image[brain], in the order of files
    if not np.isfinite(inside).all():
        raise IntensityError(f"{modality}: expected finite intensities, found NaN or infinity.")
    mean = float(inside.mean(dtype=np.float64))
    with np.errstate(over="ignore"):
        deviation = float(np.square(inside - mean).mean(dtype=np.float64)) ** 0.5
    if not isfinite(deviation):  # all scores would be zero
        raise IntensityError(
            f"{modality}: expected intensities whose squares float32 holds, found up to {inside.max():g}."
        )
    if deviation <= ROUNDING * abs(mean):
        raise IntensityError(f"{modality}: expected varying intensities, found {inside[0]:g} throughout the brain.")
    score = image - mean
    score /= deviation
    score *= brain
    return score
