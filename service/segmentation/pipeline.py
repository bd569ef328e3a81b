"""The recipe: from the files of a case to fused masks, volumes and, with a ground truth, scores."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from service.segmentation.case import read_case
from service.segmentation.geometry import resample_mask
from service.segmentation.labels import EnhancingLabel, Region, RegionMasks, label_map, region_masks
from service.segmentation.measure import Agreement, agreement
from service.segmentation.model import Model
from service.segmentation.normalise import NormalisedCase, normalise
from service.segmentation.predict import Prediction, Stage, predict_masks, unwatched
from service.segmentation.volume import Grid, Volume

LARGEST_BRAIN_ML = 2500  # no human brain with its fluid fills this; a head with its skull does


@dataclass(frozen=True)
class PreparedCase:
    """What is left of a case once it is read: far less than its files hold."""

    grid: Grid  # of the input
    truth: RegionMasks | None  # (X, Y, Z) on that grid; None without ground truth
    normalised: NormalisedCase


@dataclass(frozen=True)
class Segmentation:
    """What the service knows about a case."""

    labels: Volume  # uint8 label map on the grid of the input
    volumes_ml: Mapping[Region, float]
    agreement: Mapping[Region, Agreement] | None  # None without ground truth
    prediction: Prediction  # on the LPS, 1 mm grid, within the brain's box
    slices: int  # of the LPS, 1 mm grid
    warnings: tuple[str, ...]


def segment(
    files: Mapping[str, bytes],
    model: Model,
    enhancing: EnhancingLabel = EnhancingLabel.BRATS_2022,
    stage: Stage = unwatched,
) -> Segmentation:
    """Segment the case in a set of NIfTI files given by name.

    Raises an InputError (see errors) where the case cannot be segmented as it was sent.
    """
    return segment_prepared(prepare(files, stage), model, enhancing, stage)


def prepare(files: Mapping[str, bytes], stage: Stage = unwatched) -> PreparedCase:
    """The first half of `segment`, which needs no network. Raises what it raises."""
    with stage("decode"):
        case = read_case(files)
        truth = region_masks(case.ground_truth.voxels) if case.ground_truth else None
    with stage("normalise"):
        normalised = normalise(case.images)
    return PreparedCase(case.grid, truth, normalised)


def segment_prepared(
    case: PreparedCase, model: Model, enhancing: EnhancingLabel, stage: Stage = unwatched
) -> Segmentation:
    """The second half of `segment`."""
    normalised = case.normalised
    prediction = predict_masks(model, normalised.scores, normalised.grid.voxel_ml, stage)
    with stage("fuse"):
        masks = _on_input_grid(prediction.masks, normalised, case.grid)
        labels = Volume(label_map(masks, enhancing), case.grid.affine)
    with stage("measure"):
        volumes_ml = {region: int(np.count_nonzero(mask)) * case.grid.voxel_ml for region, mask in masks.items()}
        scores = None if case.truth is None else _agreement(masks, case.truth, case.grid.spacing_mm)
    slices = normalised.grid.shape[2]
    return Segmentation(labels, volumes_ml, scores, prediction, slices, _warnings(normalised, prediction))


def _on_input_grid(masks: RegionMasks, normalised: NormalisedCase, grid: Grid) -> RegionMasks:
    return {region: resample_mask(normalised.uncrop(mask), normalised.grid, grid) for region, mask in masks.items()}


def _agreement(
    masks: RegionMasks, truth: RegionMasks, spacing_mm: tuple[float, float, float]
) -> Mapping[Region, Agreement]:
    with ThreadPoolExecutor() as threads:
        scores = threads.map(lambda region: agreement(masks[region], truth[region], spacing_mm), Region)
        return dict(zip(Region, scores, strict=True))


def _warnings(normalised: NormalisedCase, prediction: Prediction) -> tuple[str, ...]:
    warnings = []
    if normalised.brain_ml > LARGEST_BRAIN_ML:
        warnings.append(
            f"The background is not zero: {normalised.brain_ml:.0f} ml have some intensity, more than a brain fills. "
            "The scan is probably not skull-stripped, which the networks need; do not trust the masks."
        )
    if prediction.degraded:
        warnings.append("Device memory ran out: the case was finished in smaller batches or on the CPU, more slowly.")
    return tuple(warnings)
