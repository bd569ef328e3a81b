"""Training runs: their command line and their log."""

import json
import sys
from pathlib import Path
from typing import Any

from model_training.recipe import Recipe
from support.api import read_json_lines

TIMEOUT_S = 120


def read_log(run: Path, network: str = "wt") -> list[dict[str, Any]]:
    """The log of a network, an entry per epoch."""
    return read_json_lines(run / network / "log.jsonl")


def losses(run: Path, network: str = "wt") -> list[float]:
    """The loss of each epoch."""
    return [entry["loss"] for entry in read_log(run, network)]


def cli_train(folder: Path, cache: Path, run: Path, recipe: Recipe) -> list[str | Path]:
    """Return the command line that trains a recipe."""
    lines = []
    for table, values in recipe.model_dump(mode="json", exclude_none=True).items():
        if isinstance(values, dict):
            lines += [f"[{table}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
        else:
            lines.append(f"{table} = {json.dumps(values)}")
    path = folder / f"{run.name}.toml"
    path.write_text("\n".join(lines))
    return [sys.executable, "-m", "model_training", "train", path, "--cache", cache, "--out", run]
