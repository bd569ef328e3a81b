"""A recipe that trains in seconds, and BraTS folders with phantoms."""

from pathlib import Path

import numpy as np

from model_training.recipe import Recipe
from service.imaging.phantom import encode_phantom, make_phantom
from service.imaging.volume import Grid, Volume

SPLIT = {"train": ["one", "two"], "validation": ["three"], "test": ["four"]}
FIRST_SLICES = {"one": 78, "two": 92, "three": 85, "four": 80}

RECIPE = Recipe.model_validate(
    {
        "name": "tiny",
        "version": "1",
        "network": {"outputs": "one per region", "width": 4, "depth": 2},
        "training": {
            "epochs": 4,
            "batch": 4,
            "learning_rate": 1e-2,
            "schedule": "one cycle",
            "loss": "batch dice + cross-entropy",
            "background_share": 0.5,
            "ema_decay": 0.5,
            "patch_size": (96, 96),
            "seed": 1,
        },
        "augmentation": {"spatial": True, "contrast": 0.5},
        "about": {"licence": "none", "attribution": "none", "intended_use": "tests"},
    }
)


def change(recipe: Recipe, table: str, **values: object) -> Recipe:
    """Return a copy of a recipe with other values in one of its tables."""
    entries = recipe.model_dump()
    entries[table] |= values
    return Recipe.model_validate(entries)


ONE_NETWORK = change(RECIPE, "network", outputs="three in one")


def write_data(folder: Path) -> Path:
    """Write four BraTS folders, each with a phantom of 14 axial slices, and a damaged fifth."""
    for name, first_slice in FIRST_SLICES.items():
        affine = np.diag([-1.0, -1.0, 1.0, 1.0])
        affine[:3, 3] = -45, -30, first_slice
        write_case(folder / name, make_phantom(Grid((150, 180, 14), affine)))
    write_case(folder / "damaged", {})
    (folder / "damaged" / "damaged_t1.nii.gz").write_bytes(b"not an image")
    return folder


def write_case(folder: Path, volumes: dict[str, Volume]) -> None:
    """Write one case folder."""
    folder.mkdir(parents=True)
    for name, content in encode_phantom(volumes).items():
        (folder / name.rpartition("/")[2]).write_bytes(content)
