"""One page on what several runs reached: a table in the shape of the paper's Table II, every case, and figures."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from statistics import mean, median

from model_training.evaluate import SCORES, CaseScore, Evaluation, mean_score
from service.segmentation.labels import Region

# Table II of the paper: 37 test cases of BraTS 2020, trained on 295; 630 MB and about 2 s a case on a GTX 1050 Ti.
PUBLISHED = {
    "U-Net 3C": (0.884, 0.867, 0.813),
    "U-Net 2C": (0.900, 0.877, 0.813),
    "U-Net 2C AU": (0.905, 0.903, 0.822),
}
PUBLISHED_MEMORY_MIB, PUBLISHED_SECONDS = 630, 2

FIGURES = {
    "modalities.png": "The four modalities of an axial slice (Fig. 1 of the paper)",
    "augmented.png": "A slice and five of its augmented copies (Fig. 2)",
    "masks.png": "Predicted masks (top) and ground truth (bottom) on the four modalities (Fig. 3)",
    "curves.png": "Training loss and mean validation Dice of each network",
}

Evaluations = Mapping[str, Evaluation]  # by method


def write_report(folder: Path, evaluations: Evaluations, subset: str) -> None:
    """Write report.md, which shows the figures that are in the folder, and the same numbers as report.json."""
    for method, evaluation in evaluations.items():
        if not evaluation.of(subset):
            raise ValueError(f"{method}: expected scores of {subset} cases, found none")
    sections = [
        f"# Segmentation of {len(next(iter(evaluations.values())).of(subset))} {subset} cases",
        _methods_table(evaluations, subset),
        *(_cases_section(method, evaluation.of(subset)) for method, evaluation in evaluations.items()),
        *(f"![{title}]({name})\n\n*{title}.*" for name, title in FIGURES.items() if (folder / name).exists()),
    ]
    (folder / "report.md").write_text("\n\n".join(sections) + "\n")
    numbers = {
        "subset": subset,
        "means": {method: _means(evaluation.of(subset)) for method, evaluation in evaluations.items()},
        "evaluations": {method: asdict(evaluation) for method, evaluation in evaluations.items()},
        "published": {method: dict(zip(Region, dice, strict=True)) for method, dice in PUBLISHED.items()},
    }
    (folder / "report.json").write_text(json.dumps(numbers, indent=2) + "\n")


def _methods_table(evaluations: Evaluations, subset: str) -> str:
    rows = ["| method | WT | TC | ET | device | memory (MiB) | seconds a case |", "|---|---|---|---|---|---|---|"]
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
        "Mean Dice by equation (3). Memory is the peak of the evaluating process (on a GPU, of what torch allocated "
        "there); seconds are the median from the bytes of a case's files to masks and scores. The published rows are "
        "Table II of the paper: 37 cases of BraTS 2020, networks of width 64 trained on 295."
    )
    return "\n".join(rows) + f"\n\n{note}"


def _cases_section(method: str, cases: list[CaseScore]) -> str:
    """Every case of one method, the one with the worst mean Dice first."""
    rows = [
        f"## {method}, the worst case first",
        "",
        "| case | region | Dice | sensitivity | specificity | HD95 (mm) | volume (ml) | true volume (ml) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for case in sorted(cases, key=_mean_dice_of_regions):
        for region, score in case.regions.items():
            agreement = score.agreement
            rows.append(
                f"| {case.name} | {region} | {agreement.dice:.3f} | {agreement.sensitivity:.3f} "
                f"| {agreement.specificity:.4f} | {agreement.hd95_mm:.1f} | {score.volume_ml:.1f} "
                f"| {score.true_volume_ml:.1f} |"
            )
    return "\n".join(rows)


def _means(cases: list[CaseScore]) -> dict[Region, dict[str, float]]:
    return {region: {score: mean_score(cases, region, score) for score in SCORES} for region in Region}


def _mean_dice_of_regions(case: CaseScore) -> float:
    return mean(score.agreement.dice for score in case.regions.values())
