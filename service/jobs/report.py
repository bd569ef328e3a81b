"""The report about a segmented case."""

from collections.abc import Mapping

from service.imaging.labels import NECROTIC_CORE, OEDEMA, EnhancingLabel
from service.machine.device import peak_memory_mib
from service.networks.model import Model
from service.networks.precision import precision_name
from service.preparation.preparation import Preparation
from service.schemas import (
    ComputationReport,
    InputReport,
    ModelIdentity,
    PreparationReport,
    PreparedSeriesReport,
    RegionReport,
    Report,
    Scores,
    SeriesReport,
)
from service.schemas import Quality as QualityReport
from service.segmentation.pipeline import Segmentation
from service.segmentation.quality import Quality

NOTICE = "Not a medical device; research use only."


def make_report(
    segmentation: Segmentation, enhancing: EnhancingLabel, model: Model, timings_ms: Mapping[str, float]
) -> Report:
    """Make the report of one case."""
    scores, prediction = segmentation.scores, segmentation.prediction
    return Report(
        regions={
            region: RegionReport(
                volume_ml=round(volume_ml, 3),
                quality=_quality_report(segmentation.qualities.get(region)),
                scores=Scores.model_validate(scores[region]) if scores else None,
            )
            for region, volume_ml in segmentation.volumes_ml.items()
        },
        review_recommended=bool(segmentation.review_reasons),
        review_reasons=segmentation.review_reasons,
        labels={"necrotic_core": NECROTIC_CORE, "oedema": OEDEMA, "enhancing_tumour": enhancing},
        voxels_changed_by_nesting=prediction.voxels_changed_by_nesting,
        input=_input_report(segmentation),
        preparation=_preparation_report(segmentation.preparation),
        model=ModelIdentity.model_validate(model),
        computation=ComputationReport(
            device=str(model.device),
            precision=precision_name(model.precision),
            device_peak_mib=peak_memory_mib(model.device),
            slices=segmentation.slices,
            slices_run=prediction.slices_run,
        ),
        degraded=prediction.degraded,
        timings_ms=timings_ms,
        warnings=segmentation.warnings,
        notice=NOTICE,
    )


def _input_report(segmentation: Segmentation) -> InputReport:
    grid = segmentation.labels.grid
    return InputReport(
        shape=grid.shape,
        spacing_mm=grid.spacing_mm,
        orientation=grid.orientation,
        missing_modalities=segmentation.missing,
        series={modality: SeriesReport.model_validate(series) for modality, series in segmentation.series.items()},
    )


def _preparation_report(preparation: Preparation | None) -> PreparationReport | None:
    if preparation is None:
        return None
    return PreparationReport(
        reasons=tuple(preparation.reasons),
        reference=preparation.reference,
        series={
            modality: PreparedSeriesReport(
                motion=series.motion.round(4).tolist(), brain_overlap=round(series.brain_overlap, 3)
            )
            for modality, series in preparation.series.items()
        },
        brain_ml=round(preparation.brain_ml, 1),
    )


def _quality_report(quality: Quality | None) -> QualityReport | None:
    """The quality estimate, rounded to what it is good for."""
    if quality is None:
        return None
    return QualityReport(
        predicted_dice=round(quality.predicted_dice, 2), low=round(quality.low, 2), high=round(quality.high, 2)
    )
