import pytest

from model_training.__main__ import RECIPES
from model_training.recipe import read_recipe
from service.segmentation.labels import Region


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_a_bundled_recipe_is_complete_and_called_like_its_file(path):
    assert read_recipe(path).name == path.stem


@pytest.mark.parametrize("name", ["unet-3c", "unet-2c", "unet-2c-au"])
def test_the_methods_of_the_paper_are_as_it_states_them(name):
    recipe = read_recipe(RECIPES / f"{name}.toml")
    assert (recipe.training.epochs, recipe.training.batch, recipe.training.optimiser) == (80, 10, "adam")
    assert recipe.training.loss == "batch dice"
    assert recipe.network.width == 64
    assert recipe.network.regions == ([tuple(Region)] if name == "unet-3c" else [(region,) for region in Region])
    augments = name == "unet-2c-au"
    assert (recipe.augmentation.spatial, recipe.augmentation.elastic) == (augments, augments)
    assert recipe.augmentation.copies == (10 if augments else 1)


def test_single_values_can_be_changed():
    recipe = read_recipe(RECIPES / "unet-3c.toml", ["training.epochs=5", "network.width=16"])
    assert (recipe.training.epochs, recipe.network.width, recipe.network.depth) == (5, 16, 4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("training.colour=1", "training.colour: Extra inputs"),
        ("training.epochs=0", "training.epochs: Input should be greater"),
        ("training.loss='jaccard'", "training.loss: Input should be 'dice'"),
        ("augmentation.blur=1.5", "augmentation.blur"),
        ("training.epochs", "expected TOML"),
    ],
)
def test_what_a_recipe_does_not_know_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        read_recipe(RECIPES / "unet-3c.toml", [change])


def test_a_missing_key_is_named(tmp_path):
    (tmp_path / "recipe.toml").write_text("name = 'mine'")
    with pytest.raises(ValueError, match="training: Field required"):
        read_recipe(tmp_path / "recipe.toml")
