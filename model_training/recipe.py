"""A training recipe: all that decides a run, beside the data."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from model_training.table import Table, problems
from service.segmentation.labels import Region

Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1)]


class Network(Table):
    """Which networks, of which size, look at what."""

    outputs: Literal["one per region", "three in one"]  # the paper's 2C and 3C (section III.B)
    width: Positive
    depth: Positive
    slice_offsets: tuple[int, ...] = (0,)  # slices that a network sees, relative to the one that it segments, in mm

    @property
    def regions(self) -> list[tuple[Region, ...]]:
        """The regions of each network."""
        return [tuple(Region)] if self.outputs == "three in one" else [(region,) for region in Region]


class Training(Table):
    """How the networks are trained."""

    epochs: Positive
    batch: Positive
    optimiser: Literal["adam"] = "adam"
    learning_rate: Annotated[float, Field(gt=0)]
    schedule: Literal["constant", "one cycle"]  # with one cycle, the learning rate is its peak
    loss: Literal["dice", "batch dice", "batch dice + cross-entropy"]  # equation (1), equation (2), ours
    background_share: Probability = 1.0  # of the slices without tumour, drawn anew each epoch
    averaging: Probability = 0.0  # decay, per step, of the moving average of the weights that is kept
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    frame: tuple[Positive, Positive] | None = None  # height and width of a training slice; the largest brain's if none
    validate_every: Positive = 1  # epochs
    goes_on: bool = False  # from the weights of another run, without which it would not come far
    seed: int


class Augmentation(Table):
    """Which augmentations, and how often: the probability for a slice, 0 for never."""

    copies: Positive = 1  # of each slice in an epoch
    fresh: bool = False  # whether each epoch makes new copies, or sees the same ones again
    spatial: bool = False  # Table I without its last row
    elastic: bool = False  # the last row of Table I
    contrast: Probability = 0.0
    gamma: Probability = 0.0
    bias_field: Probability = 0.0
    noise: Probability = 0.0
    blur: Probability = 0.0
    transplant: Probability = 0.0  # of another slice's tumour


class About(Table):
    """What the card says about data and use."""

    licence: str
    attribution: str
    intended_use: str


class Recipe(Table):
    """All tables of a recipe."""

    name: str
    version: str
    network: Network
    training: Training
    augmentation: Augmentation = Augmentation()
    about: About


def read_recipe(path: Path, changes: Sequence[str] = ()) -> Recipe:
    """The recipe in a TOML file, with changes such as `training.epochs=5`.

    Raises ValueError that names every key that is missing, unknown or out of range.
    """
    entries = _parse(path.name, path.read_text())
    for change in changes:
        _merge(entries, _parse(f"--set {change}", change))
    try:
        return Recipe.model_validate(entries)
    except ValidationError as error:
        raise ValueError(f"{path.name}: {problems(error)}") from error


def _parse(source: str, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(
            f"{source}: expected TOML, as in training.epochs=5 or training.loss='batch dice'; {error}"
        ) from error


def _merge(entries: dict[str, Any], changes: dict[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(entries.get(key), dict):
            _merge(entries[key], value)
        else:
            entries[key] = value
