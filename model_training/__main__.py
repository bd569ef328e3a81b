"""Prepare training data; train, evaluate and quantise networks; write reports."""

import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import TYPE_CHECKING

from model_training import commands
from model_training.evaluation.evaluate import EVALUATED_SUBSETS
from model_training.recipe import bundled_recipes
from service.imaging.errors import InputError
from service.networks.errors import WeightsError

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    Subparsers = _SubParsersAction[ArgumentParser]

WRITTEN_BY = {  # files that one subcommand writes for another
    "split.json": "prepare and train write it",
    "recipe.json": "train writes it",
    "evaluation.json": "evaluate --out writes it",
}


def main() -> None:
    """Run one subcommand."""
    arguments = _parser().parse_args()
    try:
        arguments.command(arguments)
    except FileNotFoundError as error:
        remedy = WRITTEN_BY.get(Path(error.filename).name, "give another path")
        sys.exit(f"{error.filename}: expected this file, found none; {remedy}")
    except (InputError, WeightsError, ValueError, OSError) as error:
        sys.exit(str(error))


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="python -m model_training", description=__doc__)
    subparsers = parser.add_subparsers(required=True)
    _add_prepare(subparsers)
    _add_train(subparsers)
    _add_cross_validate(subparsers)
    _add_choose(subparsers)
    _add_quantise(subparsers)
    _add_evaluate(subparsers)
    _add_modalities(subparsers)
    _add_compare(subparsers)
    _add_quality(subparsers)
    _add_report(subparsers)
    return parser


def _add_prepare(subparsers: "Subparsers") -> None:
    parser = subparsers.add_parser("prepare", help="read and normalise BraTS folders once, into a slice cache")
    parser.set_defaults(command=commands.run_prepare)
    _add_data(parser)
    parser.add_argument("--cache", type=Path, required=True, help="folder for the slice cache and split.json")
    parser.add_argument("--split", type=Path, help="JSON with the lists train, validation, test; random by default")
    parser.add_argument("--seed", type=int, default=2021, help="seed of the random split (default: %(default)s)")


def _add_train(subparsers: "Subparsers") -> None:
    parser = subparsers.add_parser("train", help="train the networks of a recipe, or resume an interrupted run")
    parser.set_defaults(command=commands.run_train)
    parser.add_argument("recipe", help=f"TOML file, or one of {', '.join(bundled_recipes())}")
    _add_cache(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder for weights, model cards, logs and state")
    parser.add_argument("--split", type=Path, help="JSON with the split; split.json of the cache by default")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. training.epochs=5")
    parser.add_argument("--initial-weights", type=Path, metavar="WEIGHTS", help="folder of weights to start from")
    parser.add_argument("--dry-run", action="store_true", help="only estimate memory and time")


def _add_cross_validate(subparsers: "Subparsers") -> None:
    parser = subparsers.add_parser(
        "cross-validate",
        help="train a recipe once for each fold; evaluate every case with networks not trained on it",
    )
    parser.set_defaults(command=commands.run_cross_validate)
    _add_data(parser)
    parser.add_argument("recipe", help=f"TOML file, or one of {', '.join(bundled_recipes())}")
    _add_cache(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs and evaluation.json")
    parser.add_argument("--folds", type=int, default=5, help="number of folds (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=2021, help="seed of the folds (default: %(default)s)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. training.epochs=5")
    parser.add_argument(
        "--initial-weights", type=Path, metavar="OUT", help="start from the weights of an earlier cross-validation"
    )


def _add_choose(subparsers: "Subparsers") -> None:
    parser = subparsers.add_parser(
        "choose",
        help="choose flip TTA and minimum confident fraction on the validation cases; write them to the model cards",
    )
    parser.set_defaults(command=commands.run_choose)
    _add_data(parser)
    _add_weights(parser)
    _add_split(parser)


def _add_quantise(subparsers: "Subparsers") -> None:
    parser = subparsers.add_parser("quantise", help="also write the weights as INT8, for CPUs with INT8 instructions")
    parser.set_defaults(command=commands.run_quantise)
    _add_weights(parser)
    parser.add_argument("--cache", type=Path, required=True, help="slice cache with the training cases to calibrate on")


def _add_evaluate(subparsers: "Subparsers") -> None:
    parser = subparsers.add_parser("evaluate", help="score weights on validation and test with the service's pipeline")
    parser.set_defaults(command=commands.run_evaluate)
    _add_data(parser)
    _add_weights(parser)
    _add_split(parser)
    parser.add_argument("--out", type=Path, help="JSON file for the scores")
    parser.add_argument("--record", action="store_true", help="write the mean Dice to the model cards")


def _add_modalities(subparsers: "Subparsers") -> None:
    parser = subparsers.add_parser(
        "modalities", help="cross-validate the network that recognises modalities, and train it on all cases"
    )
    parser.set_defaults(command=commands.run_modalities)
    _add_cache(parser)
    parser.add_argument("--out", type=Path, required=True, help="safetensors file for the weights")
    parser.add_argument("--steps", type=int, default=400, help="training steps (default: %(default)s)")
    parser.add_argument("--folds", type=int, default=5, help="number of folds (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=2021, help="seed of folds and training (default: %(default)s)")


def _add_compare(subparsers: "Subparsers") -> None:
    parser = subparsers.add_parser("compare", help="compare the Dice of two evaluations, paired by case")
    parser.set_defaults(command=commands.run_compare)
    parser.add_argument("before", type=Path, help="JSON file of an evaluation")
    parser.add_argument("after", type=Path, help="JSON file of another evaluation of the same cases")


def _add_quality(subparsers: "Subparsers") -> None:
    parser = subparsers.add_parser(
        "quality", help="fit the quality estimate on cases not used for training; write it to the model cards"
    )
    parser.set_defaults(command=commands.run_quality)
    parser.add_argument(
        "evaluations", type=Path, nargs="+", help="JSON file of an evaluation; further ones lack modalities"
    )
    _add_weights(parser)
    parser.add_argument("--plot", type=Path, help="PNG file for a plot of predicted against true Dice")


def _add_report(subparsers: "Subparsers") -> None:
    parser = subparsers.add_parser("report", help="write a report with tables and figures on evaluated runs")
    parser.set_defaults(command=commands.run_report)
    parser.add_argument("runs", type=Path, nargs="+", help="folders of runs, each with its evaluation.json")
    _add_cache(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder for report.md, report.json and figures")
    parser.add_argument("--subset", choices=EVALUATED_SUBSETS, default="test", help="default: %(default)s")


def _add_data(parser: ArgumentParser) -> None:
    parser.add_argument("data", type=Path, help="folder that contains the case folders")


def _add_cache(parser: ArgumentParser) -> None:
    parser.add_argument("--cache", type=Path, required=True, help="slice cache that prepare wrote")


def _add_weights(parser: ArgumentParser) -> None:
    parser.add_argument("--weights", type=Path, required=True, help="folder of weights and model cards")


def _add_split(parser: ArgumentParser) -> None:
    parser.add_argument("--split", type=Path, required=True, help="JSON with the lists train, validation, test")


if __name__ == "__main__":
    main()
