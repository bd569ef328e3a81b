"""The recipe: from the files of a case to fused masks, volumes and, with a ground truth, scores."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from service.segmentation.case import Case, read_case
from service.segmentation.fuse import drop_small, nest
from service.segmentation.geometry import resample_mask
from service.segmentation.labels import EnhancingLabel, Region, RegionMasks, label_map, region_masks
from service.segmentation.measure import Agreement, agreement
from service.segmentation.normalise import NormalisedCase, normalise
from service.segmentation.predict import predict_masks
from service.segmentation.volume import Volume
from service.segmentation.weights import Model

LARGEST_BRAIN_ML = 2500  # no human brain with its fluid fills this; a head with its skull does

Stage = Callable[[str], AbstractContextManager[None]]  # entered around each stage, to time or watch it


def unwatched(_: str) -> AbstractContextManager[None]:
    """A stage that nobody watches."""
    return nullcontext()


@dataclass(frozen=True)
class Segmentation:
    """What the service knows about a case."""

    labels: Volume  # uint8 label map on the grid of the input
    volumes_ml: Mapping[Region, float]
    agreement: Mapping[Region, Agreement] | None  # None without ground truth
    voxels_changed_by_nesting: int  # on the LPS, 1 mm grid
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
    with stage("read"):
        case = read_case(files)
        truth = region_masks(case.ground_truth.voxels) if case.ground_truth else None
    with stage("normalise"):
        normalised = normalise(case.images)
    with stage("predict"):
        predicted = predict_masks(model, normalised.scores)
    with stage("fuse"):
        nested, changed = nest(drop_small(predicted, model.smallest_ml, normalised.grid.voxel_ml))
        masks = _on_input_grid(nested, normalised, case)
        labels = Volume(label_map(masks, enhancing), case.grid.affine)
    with stage("measure"):
        volumes_ml = {region: float(mask.sum()) * case.grid.voxel_ml for region, mask in masks.items()}
        scores = None if truth is None else _agreement(masks, truth, case.grid.spacing_mm)
    return Segmentation(labels, volumes_ml, scores, changed, _warnings(normalised))


def _on_input_grid(masks: RegionMasks, normalised: NormalisedCase, case: Case) -> RegionMasks:
    return {
        region: resample_mask(normalised.uncrop(mask), normalised.grid, case.grid) for region, mask in masks.items()
    }


def _agreement(
    masks: RegionMasks, truth: RegionMasks, spacing_mm: tuple[float, float, float]
) -> Mapping[Region, Agreement]:
    return {region: agreement(masks[region], truth[region], spacing_mm) for region in Region}


def _warnings(normalised: NormalisedCase) -> tuple[str, ...]:
    if normalised.brain_ml <= LARGEST_BRAIN_ML:
        return ()
    return (
        f"The background is not zero: {normalised.brain_ml:.0f} ml have some intensity, more than a brain fills. "
        "The scan is probably not skull-stripped, which the networks need; do not trust the masks.",
    )
