"""Preparation of a raw case: every series is registered to the reference, and the brain is outlined there."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from service.imaging.case import BRAIN_MASK, Case, check_distinct
from service.imaging.errors import IntensityError, PreparationError
from service.imaging.geometry import check_extent, resample_mask
from service.imaging.volume import Volume
from service.preparation.brain import BrainNetworks, find_brain, find_brain_roughly
from service.preparation.preparation import MIN_BRAIN_OVERLAP, Preparation, PreparedSeries
from service.preparation.registration import register


def prepare_raw(case: Case, reasons: Sequence[str], networks: BrainNetworks) -> Preparation:
    """Register every series to the reference, and outline the brain there unless the case has a mask of it.

    Raises GeometryError for a field of view that is too large, IntensityError for NaN and infinity, ModalityError for
    one image sent as two, and PreparationError if the reference shows no brain.
    """
    for modality, image in case.images.items():
        check_extent(image.grid, modality)
        if not np.isfinite(image.voxels).all():
            raise IntensityError(f"{modality}: expected finite intensities, found NaN or infinity.")
    check_distinct(case.images)  # a mistake that is not worth the time of a preparation
    if case.brain_mask and not case.brain_mask.voxels.any():
        raise PreparationError(f"{BRAIN_MASK}: expected voxels that are not zero, found none.")
    reference = case.images[case.reference]
    rough = find_brain_roughly(reference, networks)
    mask = case.brain_mask or _outline(reference, rough, networks)
    if not mask.voxels.any():
        raise PreparationError(f"{case.reference}: expected a head, found no brain in it.")
    others = {modality: image for modality, image in case.images.items() if modality != case.reference}

    def prepare_series(image: Volume) -> PreparedSeries:
        motion = register(image, reference)
        own = find_brain_roughly(image, networks)
        return PreparedSeries(motion, _overlap(Volume(own.voxels, motion @ own.affine), rough))

    with ThreadPoolExecutor() as threads:
        series = threads.map(prepare_series, others.values())
        return Preparation(reasons, case.reference, dict(zip(others, series, strict=True)), mask)


def _outline(reference: Volume, rough: Volume, networks: BrainNetworks) -> Volume:
    """The mask of the brain: what is not zero, if the skull was removed already."""
    not_zero = Volume(reference.voxels != 0, reference.affine)
    return not_zero if _overlap(not_zero, rough) > MIN_BRAIN_OVERLAP else find_brain(reference, rough, networks)


def _overlap(moved: Volume, reference: Volume) -> float:
    """Dice of two masks on different grids."""
    a, b = resample_mask(moved.voxels != 0, moved.grid, reference.grid), reference.voxels != 0
    size = np.count_nonzero(a) + np.count_nonzero(b)
    return float(2 * np.count_nonzero(a & b) / size) if size else 0.0
