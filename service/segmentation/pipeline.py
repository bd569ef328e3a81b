"""The segmentation pipeline: from the files of a case to a label map, volumes, quality and, given the truth, scores."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.imaging.case import Case, check_distinct, read_case
from service.imaging.errors import ModalityError
from service.imaging.geometry import resample, resample_mask
from service.imaging.labels import Region, RegionMasks, checked_label_map, label_map
from service.imaging.normalise import BrainBox, NormalisedCase, normalise
from service.imaging.volume import Grid, Volume
from service.networks.modality_network import recognise
from service.networks.model import Model
from service.networks.model_card import QualityFit
from service.segmentation.measure import Scores, score_regions
from service.segmentation.modalities import Contradiction, find_contradiction
from service.segmentation.options import DEFAULT_OPTIONS, Options
from service.segmentation.predict import Prediction, axial_slices, predict_slices
from service.segmentation.progress import NO_OBSERVER, ProgressObserver
from service.segmentation.quality import Quality, estimate_quality
from service.segmentation.review import reasons_for_review
from service.segmentation.slices import AxialSlices

MAX_BRAIN_ML = 2500  # more than any human brain with its fluid; a head with its skull exceeds it
NOT_SKULL_STRIPPED = "The scan is probably not skull-stripped, which the networks require; do not trust the masks."


@dataclass(frozen=True)
class InputContext:
    """The input's grid and ground truth, and where the brain lies: needed to map masks back and to score them."""

    grid: Grid  # of the input
    ground_truth: NDArray[np.uint8] | None  # label map (X, Y, Z) on that grid
    brain: BrainBox
    contradiction: Contradiction | None  # between the images and their names


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
    qualities: Mapping[Region, Quality]  # without the empty regions, and those whose model card has no fit
    review_reasons: tuple[str, ...]  # empty: no review recommended
    probabilities: Mapping[Region, Volume]  # uint8 in 1/255, on the grid of the input; empty unless asked for
    prediction: Prediction
    slices: int  # axial slices of the working grid
    warnings: tuple[str, ...]


def segment(
    files: Mapping[str, bytes],
    model: Model,
    options: Options = DEFAULT_OPTIONS,
    observer: ProgressObserver = NO_OBSERVER,
) -> Segmentation:
    """Segment the case in a set of NIfTI files given by name.

    Raises an InputError (see imaging.errors) if the case cannot be segmented.
    """
    with observer.stage("decode"):
        case = read_case(files)
    prepared = prepare(case, model, options, observer)
    predicted = predict(prepared, model, observer)
    return finish(predicted, model, options, observer)


def prepare(
    case: Case, model: Model, options: Options = DEFAULT_OPTIONS, observer: ProgressObserver = NO_OBSERVER
) -> PreparedCase:
    """Check the ground truth, normalise the modalities, check their names, and lay them out as slices.

    Raises ModalityError, GeometryError, IntensityError or LabelError; the steps after this one raise no InputError.
    """
    with observer.stage("normalise"):
        truth = checked_label_map(case.ground_truth.voxels) if case.ground_truth else None
        normalised = normalise(case.images)
        check_distinct(case.images)
        contradiction = _check_names(model, normalised, options)
        slices = axial_slices(model, normalised.intensities)
    return PreparedCase(InputContext(case.grid, truth, normalised.brain, contradiction), slices)


def predict(case: PreparedCase, model: Model, observer: ProgressObserver = NO_OBSERVER) -> PredictedCase:
    """Run the networks on batches of slices, and fuse their masks."""
    return PredictedCase(case.context, predict_slices(model, case.slices, observer))


def finish(
    case: PredictedCase, model: Model, options: Options = DEFAULT_OPTIONS, observer: ProgressObserver = NO_OBSERVER
) -> Segmentation:
    """Resample the masks to the input's grid, measure volumes and scores, and estimate the quality."""
    context, prediction, fits = case.context, case.prediction, model.quality
    with observer.stage("resample"):
        masks = _on_input_grid(prediction.masks, context)
        labels = label_map(masks, options.enhancing)
        probabilities = _probability_maps(case) if options.with_probabilities else {}
    with observer.stage("measure"):
        volumes_ml = {region: int(np.count_nonzero(mask)) * context.grid.voxel_ml for region, mask in masks.items()}
        scores = _scores(labels, context)
        qualities = _qualities(prediction, fits, volumes_ml)
        changed_ml = prediction.voxels_changed_by_nesting * context.brain.grid.voxel_ml
        reasons = [context.contradiction.text] if context.contradiction else []
        if _has_skull(context.brain):
            reasons.append(NOT_SKULL_STRIPPED)
        reasons += reasons_for_review(labels, volumes_ml, qualities, fits, changed_ml)
    return Segmentation(
        Volume(labels, context.grid.affine),
        volumes_ml,
        scores,
        qualities,
        tuple(reasons),
        probabilities,
        prediction,
        slices=context.brain.grid.shape[2],
        warnings=_warnings(context.brain, prediction),
    )


def _has_skull(brain: BrainBox) -> bool:
    """Whether the scan is probably not skull-stripped."""
    return brain.brain_ml > MAX_BRAIN_ML


def _check_names(model: Model, case: NormalisedCase, options: Options) -> Contradiction | None:
    if model.modality_network is None or _has_skull(case.brain):  # it only knows brains without skull
        return None
    found = find_contradiction(recognise(model.modality_network, case.intensities))
    if found and found.is_certain and not options.trust_names:
        raise ModalityError(f"{found.text} Correct the names; if they are right, send ?trust_names=true.")
    return found


def _on_input_grid(masks: RegionMasks, context: InputContext) -> RegionMasks:
    brain = context.brain
    return {region: resample_mask(brain.uncrop(mask), brain.grid, context.grid) for region, mask in masks.items()}


def _probability_maps(case: PredictedCase) -> dict[Region, Volume]:
    brain, grid = case.context.brain, case.context.grid
    return {
        region: Volume(
            resample(Volume(brain.uncrop(probability), brain.grid.affine), grid).round().astype(np.uint8), grid.affine
        )
        for region, probability in case.prediction.probabilities.items()
    }


def _scores(labels: NDArray[np.uint8], context: InputContext) -> dict[Region, Scores] | None:
    if context.ground_truth is None:
        return None
    return score_regions(labels, context.ground_truth, context.grid.spacing_mm)


def _qualities(
    prediction: Prediction, fits: Mapping[Region, QualityFit], volumes_ml: Mapping[Region, float]
) -> dict[Region, Quality]:
    return {
        region: estimate_quality(fits[region], prediction.self_dice[region])
        for region, volume_ml in volumes_ml.items()
        if region in fits and volume_ml
    }


def _warnings(brain: BrainBox, prediction: Prediction) -> tuple[str, ...]:
    warnings = []
    if _has_skull(brain):
        warnings.append(
            f"The background is not zero: {brain.brain_ml:.0f} ml have a non-zero intensity, more than any brain. "
            f"{NOT_SKULL_STRIPPED}"
        )
    if prediction.degraded:
        warnings.append("Device memory ran out: the case was finished in smaller batches or on the CPU, more slowly.")
    return tuple(warnings)
