"""Training recipe: every setting of a run except the data."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from model_training.strict_model import StrictModel, describe_errors
from service.imaging.labels import Region

RECIPES = Path(__file__).parent / "recipes"  # bundled

Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1)]
NonNegative = Annotated[int, Field(ge=0)]


class Network(StrictModel):
    """The networks: their outputs, size and input."""

    outputs: Literal["one per region", "three in one"]  # the paper's 2C and 3C (section III.B)
    width: Positive
    depth: Positive
    slice_offsets: tuple[int, ...] = (0,)  # input slices relative to the slice to segment, in mm

    @property
    def regions(self) -> list[tuple[Region, ...]]:
        """The regions of each network."""
        return [tuple(Region)] if self.outputs == "three in one" else [(region,) for region in Region]


class Training(StrictModel):
    """How the networks are trained."""

    epochs: Positive
    half_resolution_epochs: NonNegative = 0  # the first epochs, on slices of half the resolution: four times as fast
    batch: Positive  # slices in a batch
    optimiser: Literal["adam"] = "adam"
    learning_rate: Annotated[float, Field(gt=0)]
    schedule: Literal["constant", "one cycle"]  # with "one cycle", learning_rate is the peak
    loss: Literal["dice", "batch dice", "batch dice + cross-entropy"]  # equation (1), equation (2), not in the paper
    background_share: Probability = 1.0  # used fraction of the slices without tumour, newly drawn each epoch
    ema_decay: Probability = 0.0  # decay per step of the moving average of the weights; the average is saved
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    patch_size: tuple[Positive, Positive] | None = None  # height and width; by default those of the largest brain
    validate_every: Positive = 1  # epochs
    warm_start: bool = False  # whether the recipe needs initial weights from another run
    seed: int


class Augmentation(StrictModel):
    """Augmentations; each Probability is that of applying the augmentation to a slice."""

    copies: Positive = 1  # augmented copies of each slice in an epoch
    new_each_epoch: bool = False  # whether each epoch makes new copies instead of repeating the same ones
    spatial: bool = False  # Table I without its last row
    elastic: bool = False  # the last row of Table I; requires spatial
    contrast: Probability = 0.0
    gamma: Probability = 0.0
    bias_field: Probability = 0.0
    noise: Probability = 0.0
    blur: Probability = 0.0
    modality_dropout: Probability = 0.0  # set one or two modalities to zero
    transplant: Probability = 0.0  # paste the tumour of another slice


class About(StrictModel):
    """Licence and use, copied to the model card."""

    licence: str
    attribution: str
    intended_use: str


class Recipe(StrictModel):
    """All tables of a recipe."""

    name: str
    version: str
    network: Network
    training: Training
    augmentation: Augmentation = Augmentation()
    about: About


def bundled_recipes() -> list[str]:
    """Names of the bundled recipes."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def find_recipe(name: str) -> Path:
    """Find a recipe's file by the name of a bundled recipe or by path. Raises ValueError if there is none."""
    for path in (RECIPES / f"{name}.toml", Path(name)):
        if path.is_file():
            return path
    raise ValueError(f"recipe: expected a TOML file or one of {', '.join(bundled_recipes())}; found {name}")


def read_recipe(path: Path, changes: Sequence[str] = ()) -> Recipe:
    """Read a recipe from a TOML file and apply changes such as `training.epochs=5`.

    Raises ValueError that names every missing, unknown or invalid key.
    """
    entries = _parse(path.name, path.read_text())
    for change in changes:
        _merge(entries, _parse(f"--set {change}", change))
    try:
        return Recipe.model_validate(entries)
    except ValidationError as error:
        raise ValueError(f"{path.name}: {describe_errors(error)}") from error


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
