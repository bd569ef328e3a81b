"""The segmentation pipeline: from the files of a case to a label map, volumes and, with a ground truth, scores."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.imaging.case import Case, read_case
from service.imaging.geometry import resample_mask
from service.imaging.labels import EnhancingLabel, Region, RegionMasks, checked_label_map, label_map
from service.imaging.normalise import BrainBox, normalise
from service.imaging.volume import Grid, Volume
from service.networks.model import Model
from service.segmentation.measure import Scores, score_regions
from service.segmentation.predict import Prediction, axial_slices, predict_slices
from service.segmentation.progress import NO_OBSERVER, ProgressObserver
from service.segmentation.slices import AxialSlices

MAX_BRAIN_ML = 2500  # more than any human brain with its fluid; a head with its skull exceeds it


@dataclass(frozen=True)
class InputContext:
    """The input's grid and ground truth, and where the brain lies: needed to map masks back and to score them."""

    grid: Grid  # of the input
    ground_truth: NDArray[np.uint8] | None  # label map (X, Y, Z) on that grid
    brain: BrainBox


@dataclass(frozen=True)
class PreparedCase:
    """A case ready for the networks; takes far less memory than its volumes."""

    context: InputContext
    slices: AxialSlices


@dataclass(frozen=True)
class PredictedCase:
    """A case after the networks have run."""

    context: InputContext
    prediction: Prediction  # on the working grid, cropped to the brain's bounding box


@dataclass(frozen=True)
class Segmentation:
    """The result of a case."""

    labels: Volume  # uint8 label map on the grid of the input
    volumes_ml: Mapping[Region, float]
    scores: Mapping[Region, Scores] | None  # None without ground truth
    prediction: Prediction
    slices: int  # axial slices of the working grid
    warnings: tuple[str, ...]


def segment(
    files: Mapping[str, bytes],
    model: Model,
    enhancing: EnhancingLabel = EnhancingLabel.BRATS_2022,
    observer: ProgressObserver = NO_OBSERVER,
) -> Segmentation:
    """Segment the case in a set of NIfTI files given by name.

    Raises an InputError (see imaging.errors) if the case cannot be segmented.
    """
    with observer.stage("decode"):
        case = read_case(files)
    prepared = prepare(case, model, observer)
    predicted = predict(prepared, model, observer)
    return finish(predicted, enhancing, observer)


def prepare(case: Case, model: Model, observer: ProgressObserver = NO_OBSERVER) -> PreparedCase:
    """Check the ground truth, normalise the modalities and lay them out as slices.

    Raises GeometryError, IntensityError or LabelError; the steps after this one raise no InputError.
    """
    with observer.stage("normalise"):
        truth = checked_label_map(case.ground_truth.voxels) if case.ground_truth else None
        normalised = normalise(case.images)
        slices = axial_slices(model, normalised.intensities)
    return PreparedCase(InputContext(case.grid, truth, normalised.brain), slices)


def predict(case: PreparedCase, model: Model, observer: ProgressObserver = NO_OBSERVER) -> PredictedCase:
    """Run the networks on batches of slices, and fuse their masks."""
    voxel_ml = case.context.brain.grid.voxel_ml
    return PredictedCase(case.context, predict_slices(model, case.slices, voxel_ml, observer))


def finish(
    case: PredictedCase,
    enhancing: EnhancingLabel = EnhancingLabel.BRATS_2022,
    observer: ProgressObserver = NO_OBSERVER,
) -> Segmentation:
    """Resample the masks to the input's grid, and measure volumes and scores."""
    context, prediction = case.context, case.prediction
    with observer.stage("resample"):
        masks = _on_input_grid(prediction.masks, context)
        labels = Volume(label_map(masks, enhancing), context.grid.affine)
    with observer.stage("measure"):
        volumes_ml = {region: int(np.count_nonzero(mask)) * context.grid.voxel_ml for region, mask in masks.items()}
        scores = _scores(labels, context)
    slices = context.brain.grid.shape[2]
    return Segmentation(labels, volumes_ml, scores, prediction, slices, _warnings(context.brain, prediction))


def _on_input_grid(masks: RegionMasks, context: InputContext) -> RegionMasks:
    brain = context.brain
    return {region: resample_mask(brain.uncrop(mask), brain.grid, context.grid) for region, mask in masks.items()}


def _scores(labels: Volume, context: InputContext) -> dict[Region, Scores] | None:
    if context.ground_truth is None:
        return None
    return score_regions(labels.voxels, context.ground_truth, context.grid.spacing_mm)


def _warnings(brain: BrainBox, prediction: Prediction) -> tuple[str, ...]:
    warnings = []
    if brain.brain_ml > MAX_BRAIN_ML:
        warnings.append(
            f"The background is not zero: {brain.brain_ml:.0f} ml have a non-zero intensity, more than any brain. "
            "The scan is probably not skull-stripped, which the networks require; do not trust the masks."
        )
    if prediction.degraded:
        warnings.append("Device memory ran out: the case was finished in smaller batches or on the CPU, more slowly.")
    return tuple(warnings)
