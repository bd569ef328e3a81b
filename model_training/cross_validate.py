"""Cross-validation: every case is segmented by networks that were not trained on it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from model_training import processes
from model_training.data.prepare import open_cache
from model_training.data.split import Split
from model_training.evaluation.evaluate import Evaluation, evaluate, read_evaluation, write_evaluation
from model_training.recipe import Recipe
from model_training.training.train import train
from service.imaging.case import Modality
from service.networks.checkpoints import load_model
from service.networks.model import Model

MISSING_SETS: Sequence[tuple[Modality, ...]] = (
    *((modality,) for modality in Modality),
    (Modality.T1, Modality.T2),  # which leaves FLAIR and T1Gd, the most frequent pair
)


@dataclass(frozen=True)
class Fold:
    """The cases of a fold, and the weights from which its networks start; None: random ones."""

    split: Split
    initial_weights: Model | None = None


def with_initial_weights(splits: Sequence[Split], out: Path) -> list[Fold]:
    """Folds that continue an earlier cross-validation with the same splits, from its folder."""
    cpu = torch.device("cpu")
    return [Fold(split, load_model(out / str(number) / "weights", cpu)) for number, split in enumerate(splits, start=1)]


def cross_validate(recipe: Recipe, folds: Sequence[Fold], data: Path, cache: Path, out: Path) -> Evaluation:
    """Train the networks of a recipe once for each fold, and evaluate them on the test cases of that fold.

    The folder `out` receives the run of each fold, numbered from 1, and `evaluation.json` with the results of all
    folds. A recipe with modality dropout is also evaluated without each of MISSING_SETS, in
    `evaluation-without-t1.json` and so on. Call it again to resume an interrupted run; existing evaluations are not
    repeated. Raises ValueError like `train` and `evaluate`.
    """
    device = processes.training_device()
    for number, fold in enumerate(folds, start=1):
        run = out / str(number)
        train(recipe, open_cache(cache, fold.split), run, device, fold.initial_weights)
        model = load_model(run / "weights", device).optimised()
        for missing in _missing_sets(recipe):
            path = evaluation_path(run, missing)
            if not path.is_file():
                write_evaluation(path, evaluate(model, data, fold.split, missing))
    for missing in _missing_sets(recipe):
        paths = [evaluation_path(out / str(number), missing) for number in range(1, len(folds) + 1)]
        write_evaluation(evaluation_path(out, missing), merge([read_evaluation(path) for path in paths]))
    return read_evaluation(evaluation_path(out, missing=()))


def evaluation_path(folder: Path, missing: Sequence[Modality]) -> Path:
    """The file of an evaluation without these modalities."""
    return folder / ("-".join(["evaluation", *(["without", *missing] if missing else [])]).lower() + ".json")


def _missing_sets(recipe: Recipe) -> Iterator[tuple[Modality, ...]]:
    yield ()
    if recipe.augmentation.modality_dropout:
        yield from MISSING_SETS


def merge(evaluations: list[Evaluation]) -> Evaluation:
    """One evaluation with the cases of all; its other entries are those of the first, and the largest peak memory."""
    first, *_ = evaluations
    peak_mib = max(evaluation.peak_memory_mib for evaluation in evaluations)
    cases = sorted((case for evaluation in evaluations for case in evaluation.cases), key=lambda case: case.name)
    return replace(first, peak_memory_mib=peak_mib, cases=cases)
