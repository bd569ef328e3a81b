"""The recipe: from the files of a case to fused masks, volumes and, with a ground truth, scores."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.segmentation.case import Case, read_case
from service.segmentation.geometry import resample_mask
from service.segmentation.labels import EnhancingLabel, Region, RegionMasks, label_map, region_masks
from service.segmentation.measure import Agreement, agreements
from service.segmentation.model import Model
from service.segmentation.normalise import NormalisedCase, normalise
from service.segmentation.predict import Prediction, axial_slices, predict_slices
from service.segmentation.slices import AxialSlices
from service.segmentation.volume import Grid, Volume
from service.segmentation.watch import UNWATCHED, Watch

LARGEST_BRAIN_ML = 2500  # no human brain with its fluid fills this; a head with its skull does


@dataclass(frozen=True)
class Frame:
    """What of a case is neither slice nor mask: where its masks belong, and what they are compared with."""

    grid: Grid  # of the input
    truth: NDArray[np.uint8] | None  # label map (X, Y, Z) on that grid; None without ground truth
    normalised: NormalisedCase  # without scores


@dataclass(frozen=True)
class PreparedCase:
    """What is left of a case once it is read: far less than its files hold."""

    frame: Frame
    slices: AxialSlices


@dataclass(frozen=True)
class PredictedCase:
    """What is left of a case once the networks have run."""

    frame: Frame
    prediction: Prediction  # on the LPS, 1 mm grid, within the brain's box


@dataclass(frozen=True)
class Segmentation:
    """What the service knows about a case."""

    labels: Volume  # uint8 label map on the grid of the input
    volumes_ml: Mapping[Region, float]
    agreement: Mapping[Region, Agreement] | None  # None without ground truth
    prediction: Prediction
    slices: int  # of the LPS, 1 mm grid
    warnings: tuple[str, ...]


def segment(
    files: Mapping[str, bytes],
    model: Model,
    enhancing: EnhancingLabel = EnhancingLabel.BRATS_2022,
    watch: Watch = UNWATCHED,
) -> Segmentation:
    """Segment the case in a set of NIfTI files given by name.

    Raises an InputError (see errors) where the case cannot be segmented as it was sent.
    """
    with watch.stage("decode"):
        case = read_case(files)
    return finish(predict(prepare(case, model, watch), model, watch), enhancing, watch)


def prepare(case: Case, model: Model, watch: Watch = UNWATCHED) -> PreparedCase:
    """The first step of `segment` once the case is read: normalise, lay out as slices.

    Raises GeometryError, IntensityError or LabelError; the steps after it raise nothing of the kind.
    """
    with watch.stage("normalise"):
        truth = _checked_labels(case.ground_truth) if case.ground_truth else None
        normalised = normalise(case.images)
        slices = axial_slices(model, normalised.scores)
    return PreparedCase(Frame(case.grid, truth, normalised.without_scores()), slices)


def predict(case: PreparedCase, model: Model, watch: Watch = UNWATCHED) -> PredictedCase:
    """The second step of `segment`: the networks, slice batch by slice batch."""
    voxel_ml = case.frame.normalised.grid.voxel_ml
    return PredictedCase(case.frame, predict_slices(model, case.slices, voxel_ml, watch))


def finish(
    case: PredictedCase, enhancing: EnhancingLabel = EnhancingLabel.BRATS_2022, watch: Watch = UNWATCHED
) -> Segmentation:
    """The third step of `segment`: fuse, undo the geometry, measure."""
    frame, prediction = case.frame, case.prediction
    with watch.stage("fuse"):
        masks = _on_input_grid(prediction.masks, frame)
        labels = Volume(label_map(masks, enhancing), frame.grid.affine)
    with watch.stage("measure"):
        volumes_ml = {region: int(np.count_nonzero(mask)) * frame.grid.voxel_ml for region, mask in masks.items()}
        scores = None if frame.truth is None else agreements(labels.voxels, frame.truth, frame.grid.spacing_mm)
    slices = frame.normalised.grid.shape[2]
    return Segmentation(labels, volumes_ml, scores, prediction, slices, _warnings(frame.normalised, prediction))


def _checked_labels(truth: Volume) -> NDArray[np.uint8]:
    """The labels of BraTS in a byte a voxel, whatever the file has; raises LabelError for others."""
    return label_map(region_masks(truth.voxels), EnhancingLabel.BRATS_2022)


def _on_input_grid(masks: RegionMasks, frame: Frame) -> RegionMasks:
    normalised = frame.normalised
    return {
        region: resample_mask(normalised.uncrop(mask), normalised.grid, frame.grid) for region, mask in masks.items()
    }


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
