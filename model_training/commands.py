"""The subcommands of model_training, called with their parsed arguments."""

from argparse import Namespace
from pathlib import Path

import torch

from model_training import processes
from model_training.cross_validate import Fold, cross_validate, with_initial_weights
from model_training.data.prepare import Cases, open_cache, open_cases, prepare
from model_training.data.split import SUBSETS, draw_folds, draw_split, read_split, write_split
from model_training.evaluation.choose import choose
from model_training.evaluation.compare import print_comparison
from model_training.evaluation.evaluate import evaluate, print_table, read_evaluation, record_scores, write_evaluation
from model_training.evaluation.quality import assess_quality, fit_quality, print_assessment, record_quality
from model_training.evaluation.report import write_report
from model_training.modalities import (
    cross_validate_modalities,
    print_detection,
    save_modality_network,
    train_modality_network,
)
from model_training.quantise import quantise
from model_training.recipe import Recipe, find_recipe, read_recipe
from model_training.training.cost import print_cost
from model_training.training.train import train
from service.imaging.labels import Region
from service.networks.checkpoints import load_model


def run_prepare(arguments: Namespace) -> None:
    """Read and normalise BraTS folders into the slice cache."""
    if arguments.split:
        split = read_split(arguments.split)
        skipped = prepare(arguments.data, [name for subset in SUBSETS for name in split[subset]], arguments.cache)
    else:
        skipped = prepare(arguments.data, None, arguments.cache)
        split = draw_split({case.name: case.has_enhancing for case in open_cases(arguments.cache)}, arguments.seed)
    write_split(arguments.cache / "split.json", split)
    for name, reason in skipped.items():
        print(f"skipped {name}: {reason}")
    print(f"skipped cases: {len(skipped)}")
    _print_counts(open_cache(arguments.cache, split))


def run_train(arguments: Namespace) -> None:
    """Train the networks of a recipe, or estimate the cost."""
    device = processes.training_device()
    recipe = read_recipe(find_recipe(arguments.recipe), arguments.set)
    split = read_split(arguments.split or arguments.cache / "split.json")
    cases = open_cache(arguments.cache, split)
    if not cases["train"]:
        raise ValueError(f"{arguments.cache}: expected training cases, found none; run prepare and see what it skips")
    initial_weights = load_model(arguments.initial_weights, torch.device("cpu")) if arguments.initial_weights else None
    if arguments.dry_run:
        print_cost(recipe, cases, device)
        return
    with processes.process_group(device):
        if processes.rank() == 0:
            _print_counts(cases)
        train(recipe, cases, arguments.out, device, initial_weights)
    print(f"weights: {arguments.out / 'weights'}")


def run_cross_validate(arguments: Namespace) -> None:
    """Cross-validate a recipe."""
    recipe = read_recipe(find_recipe(arguments.recipe), arguments.set)
    has_enhancing = {case.name: case.has_enhancing for case in open_cases(arguments.cache)}
    splits = draw_folds(has_enhancing, arguments.folds, arguments.seed)
    if arguments.initial_weights:
        folds = with_initial_weights(splits, arguments.initial_weights)
    else:
        folds = [Fold(split) for split in splits]
    print_table(cross_validate(recipe, folds, arguments.data, arguments.cache, arguments.out))


def run_modalities(arguments: Namespace) -> None:
    """Cross-validate and train the network that recognises modalities."""
    cases = {case.name: case for case in open_cases(arguments.cache)}
    folds = draw_folds({name: case.has_enhancing for name, case in cases.items()}, arguments.folds, arguments.seed)
    print_detection(cross_validate_modalities(cases, folds, arguments.steps, arguments.seed))
    network = train_modality_network(list(cases.values()), arguments.steps, arguments.seed)
    about = read_recipe(find_recipe("shared")).about.model_dump()  # licence and attribution of the same cases
    card = about | {"cases": ", ".join(cases), "steps": str(arguments.steps), "seed": str(arguments.seed)}
    save_modality_network(arguments.out, network, card)
    print(f"weights: {arguments.out}")


def run_choose(arguments: Namespace) -> None:
    """Choose flip TTA and minimum confident fraction on the validation cases."""
    model = load_model(arguments.weights, processes.training_device()).optimised()
    choose(arguments.weights, model, arguments.data, read_split(arguments.split))


def run_quantise(arguments: Namespace) -> None:
    """Write INT8 versions of trained networks."""
    cases = open_cache(arguments.cache, read_split(arguments.cache / "split.json"))
    model = load_model(arguments.weights, torch.device("cpu"), with_int8=False)  # missing INT8 files are not an error
    quantise(arguments.weights, model, cases["train"])


def run_evaluate(arguments: Namespace) -> None:
    """Evaluate trained networks on the validation and test cases."""
    model = load_model(arguments.weights, processes.training_device()).optimised()
    evaluation = evaluate(model, arguments.data, read_split(arguments.split))
    print_table(evaluation)
    if arguments.out:
        write_evaluation(arguments.out, evaluation)
    if arguments.record:
        record_scores(arguments.weights, model, evaluation)


def run_compare(arguments: Namespace) -> None:
    """Compare two evaluations."""
    print_comparison(read_evaluation(arguments.before), read_evaluation(arguments.after))


def run_quality(arguments: Namespace) -> None:
    """Fit, assess and record the quality estimate."""
    evaluations = [read_evaluation(path) for path in arguments.evaluations]
    complete = [evaluation for evaluation in evaluations if not evaluation.missing]
    incomplete = [evaluation for evaluation in evaluations if evaluation.missing]
    if len(complete) != 1:
        raise ValueError(f"evaluations: expected one with all modalities, found {len(complete)}")
    [evaluation] = complete
    model = load_model(arguments.weights, torch.device("cpu"), with_int8=False)
    assessments = {region: assess_quality(evaluation, region) for region in Region}
    for region, assessment in assessments.items():
        print_assessment(region, assessment)
    fits = {region: fit_quality(evaluation, region) for region in Region}
    record_quality(arguments.weights, model, fits, incomplete)
    if arguments.plot:
        from model_training.evaluation import figures  # it imports matplotlib, which is slow

        figures.draw_quality(assessments, arguments.plot)


def run_report(arguments: Namespace) -> None:
    """Write a report with tables and figures on evaluated runs."""
    runs = {run.resolve().name: run for run in arguments.runs}
    evaluations = {name: read_evaluation(run / "evaluation.json") for name, run in runs.items()}
    arguments.out.mkdir(parents=True, exist_ok=True)
    _draw_figures(runs, arguments.cache, arguments.subset, arguments.out)
    write_report(arguments.out, evaluations, arguments.subset)
    print(f"report: {arguments.out / 'report.md'}")


def _draw_figures(runs: dict[str, Path], cache: Path, subset: str, out: Path) -> None:
    """Draw the figures of runs, on the first case of the subset; the masks are those of the last run."""
    from model_training.evaluation import figures  # it imports matplotlib, which is slow and only this subcommand needs

    recipes = [Recipe.model_validate_json((run / "recipe.json").read_text()) for run in runs.values()]
    last = list(runs.values())[-1]
    [case, *_] = open_cache(cache, read_split(last / "split.json"))[subset]
    figures.draw_modalities(case, out / "modalities.png")
    for recipe in recipes:
        if recipe.augmentation.spatial:
            figures.draw_augmented(case, recipe, out / "augmented.png")
    figures.draw_masks(case, load_model(last / "weights", processes.training_device()), out / "masks.png")
    figures.draw_curves(runs, out / "curves.png")


def _print_counts(cases: Cases) -> None:
    print(", ".join(f"{subset}: {len(members)} cases" for subset, members in cases.items()))
