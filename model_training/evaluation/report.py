"""Report on one or several evaluated runs: a table like Table II of the paper, all cases, and figures."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from statistics import mean, median

from model_training.evaluation.evaluate import METRICS, CaseResult, Evaluation, mean_score
from service.imaging.labels import Region

# Table II of the paper: 37 test cases of BraTS 2020, trained on 295; 630 MB and about 2 s per case on a GTX 1050 Ti.
PUBLISHED = {
    "U-Net 3C": (0.884, 0.867, 0.813),
    "U-Net 2C": (0.900, 0.877, 0.813),
    "U-Net 2C AU": (0.905, 0.903, 0.822),
}
PUBLISHED_MEMORY_MIB, PUBLISHED_SECONDS = 630, 2  # the paper says MB

FIGURES = {
    "modalities.png": "The four modalities of an axial slice (Fig. 1 of the paper)",
    "augmented.png": "A slice and five of its augmented copies (Fig. 2)",
    "masks.png": "Predicted masks (top) and ground truth (bottom) on the four modalities (Fig. 3)",
    "curves.png": "Training loss and mean validation Dice of each network",
}

Evaluations = Mapping[str, Evaluation]  # by method


def write_report(folder: Path, evaluations: Evaluations, subset: str) -> None:
    """Write report.md, with those of the FIGURES that are in the folder, and report.json with the same numbers."""
    for method, evaluation in evaluations.items():
        if not evaluation.of(subset):
            raise ValueError(f"{method}: expected results of {subset} cases, found none")
    sections = [
        f"# Segmentation of {len(next(iter(evaluations.values())).of(subset))} {subset} cases",
        _methods_table(evaluations, subset),
        *(_cases_section(method, evaluation.of(subset)) for method, evaluation in evaluations.items()),
        *(f"![{title}]({name})\n\n*{title}.*" for name, title in FIGURES.items() if (folder / name).exists()),
    ]
    (folder / "report.md").write_text("\n\n".join(sections) + "\n")
    numbers = {
        "subset": subset,
        "means": {method: _mean_scores(evaluation.of(subset)) for method, evaluation in evaluations.items()},
        "evaluations": {method: asdict(evaluation) for method, evaluation in evaluations.items()},
        "published": {method: dict(zip(Region, dice, strict=True)) for method, dice in PUBLISHED.items()},
    }
    (folder / "report.json").write_text(json.dumps(numbers, indent=2) + "\n")


def _methods_table(evaluations: Evaluations, subset: str) -> str:
    rows = ["| method | WT | TC | ET | device | memory (MiB) | seconds per case |", "|---|---|---|---|---|---|---|"]
    for method, evaluation in evaluations.items():
        cases = evaluation.of(subset)
        dice = " | ".join(f"{mean_score(cases, region, 'dice'):.3f}" for region in Region)
        seconds = median(case.seconds for case in cases)
        device, memory_mib = f"{evaluation.device}, {evaluation.precision}", evaluation.peak_memory_mib
        rows.append(f"| {method} | {dice} | {device} | {memory_mib:.0f} | {seconds:.1f} |")
    for method, published in PUBLISHED.items():
        dice = " | ".join(f"{value:.3f}" for value in published)
        rows.append(f"| *{method}, published* | {dice} | GTX 1050 Ti | {PUBLISHED_MEMORY_MIB} | {PUBLISHED_SECONDS} |")
    note = (
        "Mean Dice by equation (3). Memory is the peak of the evaluating process (on a GPU, of the memory that torch "
        "allocated). Seconds are the median time from the bytes of a case's files to masks and scores. The published "
        "rows are Table II of the paper: 37 cases of BraTS 2020, networks of width 64 trained on 295 cases."
    )
    return "\n".join(rows) + f"\n\n{note}"


def _cases_section(method: str, cases: list[CaseResult]) -> str:
    """All cases of one method, sorted by ascending mean Dice."""
    rows = [
        f"## {method}, worst case first",
        "",
        "| case | region | Dice | sensitivity | specificity | HD95 (mm) | volume (ml) | true volume (ml) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for case in sorted(cases, key=_mean_dice):
        for region, result in case.regions.items():
            scores = result.scores
            rows.append(
                f"| {case.name} | {region} | {scores.dice:.3f} | {scores.sensitivity:.3f} "
                f"| {scores.specificity:.4f} | {scores.hd95_mm:.1f} | {result.volume_ml:.1f} "
                f"| {result.true_volume_ml:.1f} |"
            )
    return "\n".join(rows)


def _mean_scores(cases: list[CaseResult]) -> dict[Region, dict[str, float]]:
    return {region: {metric: mean_score(cases, region, metric) for metric in METRICS} for region in Region}


def _mean_dice(case: CaseResult) -> float:
    return mean(result.scores.dice for result in case.regions.values())
