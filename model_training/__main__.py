"""The commands of model_training: prepare, train, evaluate."""

import argparse
import sys
from pathlib import Path

import torch

from model_training.evaluate import evaluate, mean_dice, print_table, record_scores
from model_training.prepare import open_cache, prepare, read_split
from model_training.recipe import read_recipe
from model_training.train import train
from service.segmentation.errors import SegmentationError
from service.segmentation.labels import Region
from service.segmentation.weights import load_model


def main() -> None:
    """Run one command."""
    arguments = _parser().parse_args()
    try:
        arguments.command(arguments)
    except (SegmentationError, ValueError) as error:
        sys.exit(str(error))


def _prepare(arguments: argparse.Namespace) -> None:
    left_out = prepare(arguments.data, read_split(arguments.split), arguments.cache)
    for name, reason in left_out.items():
        print(f"left out {name}: {reason}")
    print(f"{len(left_out)} cases left out")


def _train(arguments: argparse.Namespace) -> None:
    split = read_split(arguments.split)
    cases = open_cache(arguments.cache, split)
    for subset in ("train", "validation"):
        print(f"{subset}: {len(cases[subset])} of {len(split[subset])} cases are in the cache")
        if not cases[subset]:
            sys.exit(f"nothing to use for {subset}: run prepare first, and see which cases it leaves out")
    train(read_recipe(arguments.recipe), arguments.region, cases, arguments.run, _device())


def _evaluate(arguments: argparse.Namespace) -> None:
    model = load_model(arguments.weights, _device())
    split = read_split(arguments.split)
    scores = {subset: evaluate(model, arguments.data, split[subset], subset) for subset in ("validation", "test")}
    print_table(scores)
    if arguments.record:
        record_scores(arguments.weights, model, {subset: mean_dice(cases) for subset, cases in scores.items()})


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m model_training", description=__doc__)
    commands = parser.add_subparsers(required=True)

    command = commands.add_parser("prepare", help="read and normalise BraTS folders once")
    command.set_defaults(command=_prepare)
    command.add_argument("data", type=Path, help="folder of case folders")
    command.add_argument("--split", type=Path, required=True, help="JSON: train, validation and test case names")
    command.add_argument("--cache", type=Path, required=True, help="folder for the slice cache")

    command = commands.add_parser("train", help="train one region's network")
    command.set_defaults(command=_train)
    command.add_argument("recipe", type=Path, help="TOML file")
    command.add_argument("--region", type=Region, choices=list(Region), required=True)
    command.add_argument("--split", type=Path, required=True)
    command.add_argument("--cache", type=Path, required=True)
    command.add_argument("--run", type=Path, required=True, help="folder for weights, card and log")

    command = commands.add_parser("evaluate", help="score weights on validation and test with the served pipeline")
    command.set_defaults(command=_evaluate)
    command.add_argument("data", type=Path, help="folder of case folders")
    command.add_argument("--split", type=Path, required=True)
    command.add_argument("--weights", type=Path, required=True, help="folder of weights and cards")
    command.add_argument("--record", action="store_true", help="write the scores into the cards")
    return parser


if __name__ == "__main__":
    main()
