"""Schemas of the JSON documents in the HTTP API."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.imaging.labels import Region

REQUEST_ID_HEADER = "X-Request-ID"


class WireModel(BaseModel):
    """Frozen, and constructible from the core's dataclasses."""

    model_config = ConfigDict(frozen=True, from_attributes=True)


class Scores(WireModel):
    """Scores of one region against the ground truth, by the evaluation rules of BraTS."""

    dice: float = Field(description="2 TP / (2 TP + FP + FN); 1 if both masks are empty, 0 if one is")
    sensitivity: float
    specificity: float
    hd95_mm: float = Field(description="95 % Hausdorff distance; 0 if both masks are empty, 374 if one is")


class Quality(WireModel):
    """The Dice that a region is likely to reach, estimated without a ground truth."""

    predicted_dice: float = Field(description="the Dice that an expert's mask would probably give, from 0 to 1")
    low: float = Field(description="lower end of the interval that contains the true Dice in most cases")
    high: float = Field(description="upper end of that interval")


class RegionReport(WireModel):
    """One region of the fused segmentation."""

    volume_ml: float
    quality: Quality | None = Field(
        description="quality estimate; null if the region is empty, or if the weights have no quality estimate"
    )
    scores: Scores | None = Field(description="null if the case came without ground truth")


class SeriesReport(WireModel):
    """The DICOM series that an image was read from."""

    number: int = Field(description="SeriesNumber; 0 if there is none")
    reason: str = Field(description="why it was taken for this modality, in words")


class InputReport(WireModel):
    """The case as it was sent; the grid is that of the label map."""

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    orientation: str = Field(description="direction of each array axis, such as LPS")
    missing_modalities: tuple[str, ...] = Field(description="the modalities that were segmented without; usually none")
    series: Mapping[str, SeriesReport] = Field(
        description="by modality: the series of a DICOM study; empty if images were sent as files"
    )


class PreparedSeriesReport(WireModel):
    """How a series was registered to the reference."""

    motion: tuple[tuple[float, ...], ...] = Field(
        description="4 x 4 matrix from points of the series to points of the reference, in RAS+ millimetres"
    )
    brain_overlap: float = Field(description="Dice of the brain in the moved series and in the reference")


class PreparationReport(WireModel):
    """What was done to a raw scan before it was segmented."""

    reasons: tuple[str, ...] = Field(description="why the scan was prepared, in words")
    reference: str = Field(description="the modality to which the others were registered")
    series: Mapping[str, PreparedSeriesReport]
    brain_ml: float


class ModelIdentity(WireModel):
    """Which weights produced the label map."""

    name: str
    version: str
    sha256: str


class ComputationReport(WireModel):
    """How the label map was computed."""

    device: str
    precision: str = Field(description="data type in which the networks are computed")
    device_peak_mib: float | None = Field(description="peak memory reserved on the GPU since the start; null on a CPU")
    slices: int = Field(description="axial slices of the case, 1 mm apart")
    slices_run: Mapping[str, int] = Field(
        description="by network: number of slices processed, those with brain or with the enclosing region"
    )


class Report(WireModel):
    """Everything about a segmented case except the label map itself."""

    regions: Mapping[Region, RegionReport]
    labels: Mapping[str, int] = Field(description="the label numbers used in the label map")
    review_recommended: bool = Field(description="whether a person should check this segmentation with special care")
    review_reasons: tuple[str, ...] = Field(description="why, in words; empty if no review is recommended")
    voxels_changed_by_nesting: int = Field(
        description="voxels (1 mm LPS grid, processed slices only) that were changed so that the regions are nested: "
        "removed from TC and ET outside WT, added to TC where only ET was found"
    )
    input: InputReport
    preparation: PreparationReport | None = Field(description="null if the scan was already prepared")
    model: ModelIdentity
    computation: ComputationReport
    degraded: bool = Field(description="whether device memory ran out, so that smaller batches or the CPU were used")
    timings_ms: Mapping[str, float] = Field(description="time of each stage of the work, in their order")
    warnings: tuple[str, ...] = Field(description="what is unusual about the case or the computation, in words")
    notice: str


class QualityFit(WireModel):
    """The regression that predicts the Dice of a region, fitted on cases that the networks were not trained on."""

    intercept: float = Field(description="logit(predicted Dice) = intercept + slope * logit(confident fraction)")
    slope: float
    low_residual: float = Field(description="10th percentile of the error, as a logit")
    high_residual: float = Field(description="90th percentile of the error, as a logit")
    volume_ml: tuple[float, float] = Field(
        description="smallest and largest predicted volume of the cases it was fitted on"
    )
    cases: int = Field(description="number of segmentations that it was fitted on")


class MeasuredDice(WireModel):
    """The Dice of a region that was measured on cases that the networks were not trained on."""

    mean: float
    low: float = Field(description="10th percentile")
    high: float = Field(description="90th percentile")
    cases: int


class ModelCard(WireModel):
    """What one checkpoint is and where it comes from."""

    name: str
    version: str
    regions: tuple[Region, ...]
    width: int
    depth: int
    channels: tuple[str, ...]
    slice_offsets: tuple[int, ...] = Field(description="input slices relative to the one that is segmented")
    normalisation: str
    flip_tta: bool = Field(
        description="flip test-time augmentation: whether predictions on the slice and its mirror image are averaged"
    )
    min_confident_fraction: Mapping[str, float] = Field(
        description="by region: a mask becomes empty if the network is confident in a smaller fraction of it"
    )
    quality: Mapping[str, QualityFit] = Field(description="by region: how its Dice is predicted")
    max_missing: int = Field(description="so many of the four modalities may be missing (allow_missing)")
    dice_without: Mapping[str, Mapping[str, MeasuredDice]] = Field(
        description="by region and missing modalities: the Dice measured in such cases"
    )
    licence: str
    attribution: str
    intended_use: str
    training: Mapping[str, Any]
    scores: Mapping[str, Any]
    sha256: str
    int8_sha256: str = Field(description="hash of the network's INT8 version; empty if there is none")


class Problem(WireModel):
    """An error as defined in RFC 9457."""

    type: str = Field(description="a stable identifier of the kind of error")
    title: str
    status: int
    detail: str


class SliceProgress(WireModel):
    """How many slices a network has processed."""

    done: int
    total: int


class JobStatus(WireModel):
    """The state of a job."""

    id: str
    state: Literal["waiting", "running", "done", "failed"]
    queue_position: int | None = Field(description="1 for the next job to run; null unless the job is waiting")
    stage: str | None = Field(description="what is done now, as in timings_ms of the report; null unless running")
    slices: Mapping[str, SliceProgress] = Field(description="by network; a network that has not started is absent")
    estimated_remaining_s: float | None = Field(
        description="estimated seconds until the job finishes, from recent cases; null once it has finished"
    )
    created: datetime
    finished: datetime | None
    expires: datetime | None = Field(description="when the result is removed")
    problem: Problem | None = Field(description="why the job failed")


class Health(WireModel):
    """The state of the service."""

    status: str
