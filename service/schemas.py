"""What goes over the wire."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.segmentation.labels import Region

REQUEST_ID_HEADER = "X-Request-ID"


class WireModel(BaseModel):
    """Frozen, and readable from the core's dataclasses."""

    model_config = ConfigDict(frozen=True, from_attributes=True)


class Agreement(WireModel):
    """Scores of one region against the ground truth, by the rules of BraTS."""

    dice: float = Field(description="2 TP / (2 TP + FP + FN); 1 where both masks are empty, 0 where one is")
    sensitivity: float
    specificity: float
    hd95_mm: float = Field(description="95 % Hausdorff distance; 0 where both masks are empty, 374 where one is")


class RegionReport(WireModel):
    """One region of the fused segmentation."""

    volume_ml: float
    agreement: Agreement | None = Field(description="null where the case came without ground truth")


class InputReport(WireModel):
    """The grid of the case as it was sent, which is the grid of the mask."""

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    orientation: str = Field(description="direction of each array axis, such as LPS")


class ModelIdentity(WireModel):
    """Which weights answered."""

    name: str
    version: str
    sha256: str


class ComputationReport(WireModel):
    """What it took."""

    device: str
    precision: str = Field(description="number format of the networks")
    device_peak_mib: float | None = Field(description="most memory held of a CUDA card since the start; null on a CPU")
    slices: int = Field(description="axial slices of the case, 1 mm apart")
    slices_run: Mapping[str, int] = Field(
        description="by network: those that it was run on, where there is brain, or the region around its own"
    )


class Report(WireModel):
    """All that is known about a segmented case, beside the mask itself."""

    regions: Mapping[Region, RegionReport]
    labels: Mapping[str, int] = Field(description="the numbers used in the mask")
    voxels_changed_by_nesting: int = Field(
        description="voxels of the LPS, 1 mm grid where, in the slices run, ET was outside TC or TC outside WT, and "
        "gave way"
    )
    input: InputReport
    model: ModelIdentity
    computation: ComputationReport
    degraded: bool = Field(description="whether device memory ran out, and smaller batches or the CPU went on")
    timings_ms: Mapping[str, float]
    warnings: tuple[str, ...]
    notice: str


class Card(WireModel):
    """What one checkpoint is and where it came from."""

    name: str
    version: str
    regions: tuple[Region, ...]
    width: int
    depth: int
    channels: tuple[str, ...]
    slice_offsets: tuple[int, ...] = Field(description="slices that the network sees, relative to the one it segments")
    normalisation: str
    mirrored: bool = Field(description="whether each slice is seen mirrored too, and the two answers averaged")
    smallest_ml: Mapping[str, float] = Field(description="by region: what is smaller is called absent")
    licence: str
    attribution: str
    intended_use: str
    training: Mapping[str, Any]
    scores: Mapping[str, Any]
    sha256: str
    quantised_sha256: str = Field(description="of the same network in eight-bit integers; empty without")


class Problem(WireModel):
    """An error by RFC 9457."""

    type: str = Field(description="a stable name for the kind of error")
    title: str
    status: int
    detail: str


class SlicesDone(WireModel):
    """How far a network is with a case."""

    done: int
    of: int


class JobStatus(WireModel):
    """Where a job is."""

    id: str
    state: Literal["waiting", "running", "done", "failed"]
    place: int | None = Field(description="1 for the next to be worked on; null where it does not wait")
    slices: Mapping[str, SlicesDone] = Field(description="by network; one that has not begun is not there yet")
    estimated_s: float | None = Field(description="seconds until the result, from recent cases; null once it is there")
    created: datetime
    finished: datetime | None
    expires: datetime | None = Field(description="when the result is removed")
    problem: Problem | None = Field(description="why it failed")


class Health(WireModel):
    """The state of the service."""

    status: str
