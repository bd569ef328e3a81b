"""Cross-validation: every case is segmented by networks that were not trained on it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from model_training import processes
from model_training.data.prepare import open_cache
from model_training.data.split import Split
from model_training.evaluation.evaluate import Evaluation, evaluate, read_evaluation, write_evaluation
from model_training.recipe import Recipe
from model_training.training.train import train
from service.networks.checkpoints import load_model


def cross_validate(recipe: Recipe, folds: Sequence[Split], data: Path, cache: Path, out: Path) -> Evaluation:
    """Train the networks of a recipe once for each fold, and evaluate them on the test cases of that fold.

    The folder `out` receives the run of each fold, numbered from 1, and `evaluation.json` with the results of all
    folds. Call it again to resume an interrupted run; a fold with an `evaluation.json` is finished.
    Raises ValueError like `train` and `evaluate`.
    """
    device = processes.training_device()
    evaluations = []
    for number, split in enumerate(folds, start=1):
        run = out / str(number)
        train(recipe, open_cache(cache, split), run, device)
        if not (run / "evaluation.json").is_file():
            model = load_model(run / "weights", device).optimised()
            write_evaluation(run / "evaluation.json", evaluate(model, data, split))
        evaluations.append(read_evaluation(run / "evaluation.json"))
    whole = merge(evaluations)
    write_evaluation(out / "evaluation.json", whole)
    return whole


def merge(evaluations: list[Evaluation]) -> Evaluation:
    """One evaluation with the cases of all; its other entries are those of the first, and the largest peak memory."""
    first, *_ = evaluations
    peak_mib = max(evaluation.peak_memory_mib for evaluation in evaluations)
    cases = sorted((case for evaluation in evaluations for case in evaluation.cases), key=lambda case: case.name)
    return replace(first, peak_memory_mib=peak_mib, cases=cases)
