"""The segmentation pipeline: from the files of a case to a label map, volumes, quality and, given the truth, scores."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from service.imaging.case import Case, Modality, Series, check_one_grid
from service.imaging.geometry import resample, resample_mask
from service.imaging.labels import Region, RegionMasks, checked_label_map, label_map
from service.imaging.normalise import BrainBox, normalise
from service.imaging.reading import read_case
from service.imaging.volume import Grid, Volume
from service.networks.model import Model
from service.preparation.export import prepared_files
from service.preparation.preparation import Preparation
from service.segmentation.checks import NOT_SKULL_STRIPPED, Findings, check_appearance, check_case, label_grid
from service.segmentation.measure import Scores, score_regions
from service.segmentation.options import DEFAULT_OPTIONS, Options
from service.segmentation.predict import Prediction, axial_slices, predict_slices
from service.segmentation.progress import NO_OBSERVER, ProgressObserver
from service.segmentation.quality import Quality, estimate_qualities
from service.segmentation.review import reasons_for_review
from service.segmentation.slices import AxialSlices


@dataclass(frozen=True)
class InputContext:
    """The input's grid and ground truth, and where the brain lies: needed to map masks back and to score them."""

    label_role: str  # the modality on whose grid the label map is
    label_grid: Grid  # as in the header of the label map
    placed_grid: Grid  # where those voxels lie on the reference, to which their series was registered
    ground_truth: NDArray[np.uint8] | None  # label map (X, Y, Z) on that grid
    brain: BrainBox
    findings: Findings
    prepared_files: Mapping[str, bytes]


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

    labels: Volume  # uint8 label map
    label_role: str  # the modality on whose grid it is
    volumes_ml: Mapping[Region, float]
    scores: Mapping[Region, Scores] | None  # None without ground truth
    missing: tuple[Modality, ...]
    series: Mapping[Modality, Series]  # of a DICOM study
    qualities: Mapping[Region, Quality]  # without the empty regions, and those whose model card has no fit
    review_reasons: tuple[str, ...]  # empty: no review recommended
    probabilities: Mapping[Region, Volume]  # uint8 in 1/255, on the grid of the label map; empty unless asked for
    prediction: Prediction
    preparation: Preparation | None  # of a raw case
    prepared_files: Mapping[str, bytes]  # by name; empty unless asked for
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
    check_case(case, model, options)
    prepared = prepare(case, model, options, observer)
    predicted = predict(prepared, model, observer)
    return finish(predicted, model, options, observer)


def prepare(
    case: Case,
    model: Model,
    options: Options = DEFAULT_OPTIONS,
    observer: ProgressObserver = NO_OBSERVER,
    preparation: Preparation | None = None,
) -> PreparedCase:
    """Normalise the modalities of a case that `check_case` accepts, and lay them out as slices.

    Raises ModalityError, GeometryError, IntensityError or LabelError; the steps after this one raise no InputError.
    """
    with observer.stage("normalise"):
        if not preparation:
            check_one_grid(case)
        truth = checked_label_map(case.ground_truth.voxels) if case.ground_truth else None
        placed = preparation.place(case) if preparation else case
        normalised = normalise(placed.images, placed.brain_mask)
        findings = replace(check_appearance(case, normalised, model, options), preparation=preparation)
        slices = axial_slices(model, normalised.intensities)
    (role, grid), (_, placed_grid) = label_grid(case, options.grid), label_grid(placed, options.grid)
    files = prepared_files(placed, placed_grid, grid, preparation, truth) if options.with_prepared else {}
    return PreparedCase(InputContext(role, grid, placed_grid, truth, normalised.brain, findings, files), slices)


def predict(case: PreparedCase, model: Model, observer: ProgressObserver = NO_OBSERVER) -> PredictedCase:
    """Run the networks on batches of slices, and fuse their masks."""
    return PredictedCase(case.context, predict_slices(model, case.slices, observer))


def finish(
    case: PredictedCase, model: Model, options: Options = DEFAULT_OPTIONS, observer: ProgressObserver = NO_OBSERVER
) -> Segmentation:
    """Resample the masks to the grid of the label map, measure volumes and scores, and estimate the quality."""
    context, prediction = case.context, case.prediction
    with observer.stage("resample"):
        masks = _on_label_grid(prediction.masks, context)
        labels = label_map(masks, options.enhancing)
        probabilities = _probability_maps(case) if options.with_probabilities else {}
    with observer.stage("measure"):
        voxel_ml = context.label_grid.voxel_ml
        volumes_ml = {region: int(np.count_nonzero(mask)) * voxel_ml for region, mask in masks.items()}
        scores = _scores(labels, context)
        found = {region for region, volume_ml in volumes_ml.items() if volume_ml}
        qualities = estimate_qualities(model, context.findings.missing, prediction.confident_fraction, found)
        changed_ml = prediction.voxels_changed_by_nesting * context.brain.grid.voxel_ml
        reasons = [
            *context.findings.reasons_for_review(),
            *reasons_for_review(labels, volumes_ml, qualities, model.quality, changed_ml),
        ]
    return Segmentation(
        Volume(labels, context.label_grid.affine),
        context.label_role,
        volumes_ml,
        scores,
        context.findings.missing,
        context.findings.series,
        qualities,
        tuple(reasons),
        probabilities,
        prediction,
        context.findings.preparation,
        context.prepared_files,
        slices=context.brain.grid.shape[2],
        warnings=_warnings(context, prediction),
    )


def _on_label_grid(masks: RegionMasks, context: InputContext) -> RegionMasks:
    brain, grid = context.brain, context.placed_grid
    return {region: resample_mask(brain.uncrop(mask), brain.grid, grid) for region, mask in masks.items()}


def _probability_maps(case: PredictedCase) -> dict[Region, Volume]:
    context = case.context
    brain, grid, affine = context.brain, context.placed_grid, context.label_grid.affine
    return {
        region: Volume(
            resample(Volume(brain.uncrop(probability), brain.grid.affine), grid).round().astype(np.uint8), affine
        )
        for region, probability in case.prediction.probabilities.items()
    }


def _scores(labels: NDArray[np.uint8], context: InputContext) -> dict[Region, Scores] | None:
    if context.ground_truth is None:
        return None
    return score_regions(labels, context.ground_truth, context.label_grid.spacing_mm)


def _warnings(context: InputContext, prediction: Prediction) -> tuple[str, ...]:
    warnings = []
    if context.findings.has_skull:
        warnings.append(
            f"The background is not zero: {context.brain.brain_ml:.0f} ml have a non-zero intensity, more than any "
            f"brain. {NOT_SKULL_STRIPPED}"
        )
    if prediction.degraded:
        warnings.append("Device memory ran out: the case was finished in smaller batches or on the CPU, more slowly.")
    return tuple(warnings)
