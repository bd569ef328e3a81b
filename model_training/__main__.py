"""The commands of model_training: prepare, train, choose, quantise, evaluate, report."""

import argparse
import sys
from pathlib import Path

import torch

from model_training import processes
from model_training.choose import choose
from model_training.cost import print_cost
from model_training.evaluate import (
    SCORED_SUBSETS,
    evaluate,
    print_table,
    read_evaluation,
    record_scores,
    write_evaluation,
)
from model_training.prepare import Cases, open_cache, open_cases, prepare
from model_training.quantise import quantise
from model_training.recipe import Recipe, read_recipe
from model_training.report import write_report
from model_training.split import SUBSETS, draw_split, read_split, write_split
from model_training.train import train
from service.segmentation.errors import SegmentationError
from service.segmentation.weights import load_model

RECIPES = Path(__file__).parent / "recipes"
BUNDLED = ", ".join(sorted(path.stem for path in RECIPES.glob("*.toml")))
MAKERS = {  # of the files that one command leaves for another
    "split.json": "prepare, or train, writes it",
    "recipe.json": "train writes it",
    "evaluation.json": "evaluate --out writes it",
}


def main() -> None:
    """Run one command."""
    arguments = _parser().parse_args()
    try:
        arguments.command(arguments)
    except FileNotFoundError as error:
        maker = MAKERS.get(Path(error.filename).name, "give another path")
        sys.exit(f"{error.filename}: expected this file, found none; {maker}")
    except (SegmentationError, ValueError, OSError) as error:
        sys.exit(str(error))


def _prepare(arguments: argparse.Namespace) -> None:
    path = arguments.cache / "split.json"
    if arguments.split:
        split = read_split(arguments.split)
        left_out = prepare(arguments.data, [name for subset in SUBSETS for name in split[subset]], arguments.cache)
    else:
        left_out = prepare(arguments.data, None, arguments.cache)
        split = draw_split({case.name: case.has_enhancing for case in open_cases(arguments.cache)}, arguments.seed)
    write_split(path, split)
    for name, reason in left_out.items():
        print(f"left out {name}: {reason}")
    print(f"cases left out: {len(left_out)}")
    _print_counts(open_cache(arguments.cache, split))


def _train(arguments: argparse.Namespace) -> None:
    device = _device()
    recipe = read_recipe(_recipe_path(arguments.recipe), arguments.set)
    split = read_split(arguments.split or arguments.cache / "split.json")
    cases = open_cache(arguments.cache, split)
    if not cases["train"]:
        raise ValueError(f"{arguments.cache}: expected training cases, found none; run prepare, see what it leaves out")
    start = load_model(arguments.start, torch.device("cpu")) if arguments.start else None
    if arguments.dry_run:
        print_cost(recipe, cases, device)
        return
    with processes.joined_processes(device):
        if processes.rank() == 0:
            _print_counts(cases)
        train(recipe, cases, arguments.out, device, start)
    print(f"weights: {arguments.out / 'weights'}")


def _evaluate(arguments: argparse.Namespace) -> None:
    model = load_model(arguments.weights, _device()).optimised()
    evaluation = evaluate(model, arguments.data, read_split(arguments.split))
    print_table(evaluation)
    if arguments.out:
        write_evaluation(arguments.out, evaluation)
    if arguments.record:
        record_scores(arguments.weights, model, evaluation)


def _choose(arguments: argparse.Namespace) -> None:
    model = load_model(arguments.weights, _device()).optimised()
    choose(arguments.weights, model, arguments.data, read_split(arguments.split))


def _quantise(arguments: argparse.Namespace) -> None:
    cases = open_cache(arguments.cache, read_split(arguments.cache / "split.json"))
    model = load_model(arguments.weights, torch.device("cpu"), quantised=False)  # those are made here
    quantise(arguments.weights, model, cases["train"])


def _report(arguments: argparse.Namespace) -> None:
    runs = {run.resolve().name: run for run in arguments.runs}
    evaluations = {name: read_evaluation(run / "evaluation.json") for name, run in runs.items()}
    arguments.out.mkdir(parents=True, exist_ok=True)
    _draw_figures(runs, arguments.cache, arguments.subset, arguments.out)
    write_report(arguments.out, evaluations, arguments.subset)
    print(f"report: {arguments.out / 'report.md'}")


def _draw_figures(runs: dict[str, Path], cache: Path, subset: str, out: Path) -> None:
    """The figures of runs; masks are those of the last one, on the first case of the subset."""
    from model_training import figures  # matplotlib takes a second, and no other command needs it

    recipes = [Recipe.model_validate_json((run / "recipe.json").read_text()) for run in runs.values()]
    last = list(runs.values())[-1]
    [case, *_] = open_cache(cache, read_split(last / "split.json"))[subset]
    figures.draw_modalities(case, out / "modalities.png")
    for recipe in recipes:
        if recipe.augmentation.spatial:
            figures.draw_augmented(case, recipe, out / "augmented.png")
    figures.draw_masks(case, load_model(last / "weights", _device()), out / "masks.png")
    figures.draw_curves(runs, out / "curves.png")


def _print_counts(cases: Cases) -> None:
    print(", ".join(f"{subset}: {len(members)} cases" for subset, members in cases.items()))


def _recipe_path(name: str) -> Path:
    """A recipe's file: the bundled one of this name, or a path."""
    for path in (RECIPES / f"{name}.toml", Path(name)):
        if path.is_file():
            return path
    raise ValueError(f"recipe: expected a TOML file or one of {BUNDLED}, found {name}")


def _device() -> torch.device:
    """This process's card, or the CPU where there is none."""
    return torch.device("cuda", processes.local_rank()) if torch.cuda.is_available() else torch.device("cpu")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m model_training", description=__doc__)
    commands = parser.add_subparsers(required=True)

    command = commands.add_parser("prepare", help="read and normalise BraTS folders once")
    command.set_defaults(command=_prepare)
    command.add_argument("data", type=Path, help="folder that holds the case folders")
    command.add_argument("--cache", type=Path, required=True, help="folder for the slice cache and split.json")
    command.add_argument("--split", type=Path, help="JSON with the lists train, validation, test; drawn if not given")
    command.add_argument("--seed", type=int, default=2021, help="of a drawn split")

    command = commands.add_parser("train", help="train the networks of a recipe; goes on with an interrupted run")
    command.set_defaults(command=_train)
    command.add_argument("recipe", help=f"a TOML file, or one of {BUNDLED}")
    command.add_argument("--cache", type=Path, required=True)
    command.add_argument("--out", type=Path, required=True, help="folder for weights, cards, log and state")
    command.add_argument("--split", type=Path, help="another one than that of the cache")
    command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as in training.epochs=5")
    command.add_argument("--from", dest="start", type=Path, metavar="WEIGHTS", help="folder of weights to start from")
    command.add_argument("--dry-run", action="store_true", help="print the memory of a step and the time of the run")

    command = commands.add_parser("choose", help="decide on validation how weights are used, and write it on the cards")
    command.set_defaults(command=_choose)
    command.add_argument("data", type=Path, help="folder that holds the case folders")
    command.add_argument("--weights", type=Path, required=True, help="folder of weights and cards")
    command.add_argument("--split", type=Path, required=True)

    command = commands.add_parser("quantise", help="write weights in eight-bit integers as well, for CPUs fast in them")
    command.set_defaults(command=_quantise)
    command.add_argument("--weights", type=Path, required=True, help="folder of weights and cards")
    command.add_argument("--cache", type=Path, required=True, help="whose training cases to calibrate on")

    command = commands.add_parser("evaluate", help="score weights on validation and test with the served pipeline")
    command.set_defaults(command=_evaluate)
    command.add_argument("data", type=Path, help="folder that holds the case folders")
    command.add_argument("--weights", type=Path, required=True, help="folder of weights and cards")
    command.add_argument("--split", type=Path, required=True)
    command.add_argument("--out", type=Path, help="JSON file for the scores")
    command.add_argument("--record", action="store_true", help="write the mean scores into the cards")

    command = commands.add_parser("report", help="write a page with tables and figures on evaluated runs")
    command.set_defaults(command=_report)
    command.add_argument("runs", type=Path, nargs="+", help="folders of runs, each with its evaluation.json")
    command.add_argument("--cache", type=Path, required=True)
    command.add_argument("--out", type=Path, required=True, help="folder for report.md, report.json and figures")
    command.add_argument("--subset", choices=SCORED_SUBSETS, default="test")
    return parser


if __name__ == "__main__":
    main()
