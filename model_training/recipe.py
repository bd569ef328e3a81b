"""A training recipe: all that decides a run, beside the data."""

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path


@dataclass(frozen=True)
class Recipe:
    """The keys of a recipe's TOML file."""

    name: str
    version: str
    width: int
    depth: int
    epochs: int
    batch: int
    learning_rate: float  # the peak of one cycle
    background_share: float  # of the slices without tumour, drawn anew each epoch
    averaging: float  # decay, per step, of the moving average of the weights that is kept
    seed: int
    licence: str
    attribution: str
    intended_use: str


def read_recipe(path: Path) -> Recipe:
    """The recipe in a TOML file; raises ValueError where a key is missing or unknown."""
    entries = tomllib.loads(path.read_text())
    expected = {field.name for field in fields(Recipe)}
    if wrong := expected ^ set(entries):
        raise ValueError(f"{path.name}: missing or unknown keys: {', '.join(sorted(wrong))}")
    return Recipe(**entries)
