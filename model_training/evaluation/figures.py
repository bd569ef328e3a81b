"""The figures of the paper, drawn from cached cases and runs."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from model_training.augmentation import augment
from model_training.augmentation.random_streams import RandomStreams, stream_seed
from model_training.data.prepare import CachedCase
from model_training.evaluation.quality import Assessment
from model_training.recipe import Recipe
from service.imaging.case import Modality
from service.imaging.labels import BACKGROUND, Region, RegionMasks, region_masks
from service.networks.model import Model
from service.segmentation.predict import predict_masks
from service.segmentation.review import MIN_PREDICTED_DICE

COLOURS = {Region.WT: "#4daf4a", Region.TC: "#ffd92f", Region.ET: "#e41a1c"}
COPIES_SHOWN = 5
FLAIR = list(Modality).index(Modality.FLAIR)


def draw_modalities(case: CachedCase, path: Path) -> None:
    """Fig. 1: the four modalities of the slice with the most tumour."""
    figure, axes = _panels(1, len(Modality))
    for axis, modality, image in zip(axes[0], Modality, case.intensities[largest_slice(case)], strict=True):
        _show(axis, image)
        axis.set_title(modality)
    _save(figure, path)


def draw_augmented(case: CachedCase, recipe: Recipe, path: Path) -> None:
    """Fig. 2: FLAIR of a slice and of its copies by the recipe's augmentation, with the outline of the whole tumour."""
    index = largest_slice(case)
    slices = torch.from_numpy(case.intensities[[index]].astype(np.float32))  # (1, 4, Y, X)
    labels = torch.from_numpy(case.labels[[index], None].astype(np.float32))
    shown = [(slices, labels)]
    for copy in range(COPIES_SHOWN):
        streams = RandomStreams([stream_seed(recipe.training.seed, f"{case.name} {index}", copy)])
        shown.append(augment(slices, labels, (slices.shape[-2], slices.shape[-1]), recipe.augmentation, streams))
    figure, axes = _panels(1, len(shown))
    for number, (axis, (image, mask)) in enumerate(zip(axes[0], shown, strict=True)):
        _show(axis, image[0, FLAIR].numpy())
        _outline(axis, mask[0, 0].numpy() != BACKGROUND, COLOURS[Region.WT])
        axis.set_title(f"copy {number}" if number else "original slice")
    _save(figure, path)


def draw_masks(case: CachedCase, model: Model, path: Path) -> None:
    """Fig. 3: predicted (top) and true (bottom) regions of the slice with the most tumour on its four modalities."""
    index = largest_slice(case)
    predicted = {region: mask[..., index].T for region, mask in predict_masks(model, case.volumes).masks.items()}
    figure, axes = _panels(2, len(Modality))
    for row, masks in zip(axes, (predicted, region_masks(case.labels[index])), strict=True):
        for axis, modality, image in zip(row, Modality, case.intensities[index], strict=True):
            _show(axis, image)
            _overlay(axis, masks)
            axis.set_title(f"{modality}, {'predicted' if masks is predicted else 'ground truth'}")
    _save(figure, path)


def draw_curves(runs: Mapping[str, Path], path: Path) -> None:
    """Loss and mean validation Dice by epoch, for every network of every run."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    loss, dice = figure.subplots(1, 2)
    for name, run in runs.items():
        for log in sorted(run.glob("*/log.jsonl")):
            entries = [json.loads(line) for line in log.read_text().splitlines()]
            label = f"{name} {log.parent.name.upper()}"
            _curve(loss, entries, "loss", label)
            _curve(dice, entries, "dice", label)
    loss.set(xlabel="epoch", ylabel="training loss")
    dice.set(xlabel="epoch", ylabel="mean validation Dice", ylim=(0, 1))
    for axis in (loss, dice):
        axis.xaxis.get_major_locator().set_params(integer=True)
    loss.legend(fontsize="small")
    _save(figure, path)


def largest_slice(case: CachedCase) -> int:
    """Index of the axial slice with the most tumour."""
    return int((case.labels != BACKGROUND).sum(axis=(1, 2)).argmax())


def _curve(axis: Axes, entries: Sequence[Mapping[str, Any]], key: str, label: str) -> None:
    points = [(entry["epoch"], entry[key]) for entry in entries if key in entry]
    axis.plot(*zip(*points, strict=True), marker=".", label=label)


def draw_quality(assessments: Mapping[Region, Assessment], path: Path) -> None:
    """Reliability of the quality estimate: predicted against true Dice of each case, and the means of thirds."""
    figure, axes = _panels(1, len(assessments))
    for axis, (region, assessment) in zip(axes[0], assessments.items(), strict=True):
        axis.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
        axis.axvline(MIN_PREDICTED_DICE, color="grey", linewidth=0.8, linestyle="dashed", label="limit for a review")
        axis.plot(assessment.predicted, assessment.true, ".", color="black", alpha=0.5, label="a case")
        axis.plot(*np.transpose(assessment.terciles), "o", color="#377eb8", label="mean of a third of the cases")
        axis.set(
            title=f"{region}, {len(assessment.true)} cases",
            xlabel="predicted Dice",
            xlim=(0, 1),
            ylim=(-0.02, 1.02),
            aspect="equal",
        )
    axes[0, 0].set_ylabel("true Dice")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncol=3)
    _save(figure, path)


def _panels(rows: int, columns: int) -> tuple[Figure, NDArray[np.object_]]:
    figure = Figure(figsize=(2.4 * columns, 2.9 * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def _show(axis: Axes, image: NDArray[np.floating[Any]]) -> None:
    axis.imshow(image.astype(np.float32), cmap="gray", vmin=-2.5, vmax=3.5)
    axis.axis("off")


def _overlay(axis: Axes, masks: RegionMasks) -> None:
    for region, mask in masks.items():
        colour = np.array(mpl.colors.to_rgba(COLOURS[region], alpha=0.5))
        axis.imshow(np.where(mask[..., None], colour, 0))


def _outline(axis: Axes, mask: NDArray[np.bool_], colour: str) -> None:
    if mask.any():
        axis.contour(mask, levels=[0.5], colors=[colour], linewidths=1)


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=100)
