import pytest

from model_training.recipe import RECIPES, bundled_recipes, find_recipe, read_recipe
from service.imaging.labels import Region


@pytest.mark.parametrize("name", bundled_recipes())
def test_a_bundled_recipe_is_valid_and_has_the_name_of_its_file(name):
    assert read_recipe(find_recipe(name)).name == name


@pytest.mark.parametrize("name", ["unet-3c", "unet-2c", "unet-2c-au"])
def test_the_recipes_of_the_paper_have_its_settings(name):
    recipe = read_recipe(RECIPES / f"{name}.toml")
    assert (recipe.training.epochs, recipe.training.batch, recipe.training.optimiser) == (80, 10, "adam")
    assert recipe.training.loss == "batch dice"
    assert recipe.network.width == 64
    assert recipe.network.regions == ([tuple(Region)] if name == "unet-3c" else [(region,) for region in Region])
    augments = name == "unet-2c-au"
    assert (recipe.augmentation.spatial, recipe.augmentation.elastic) == (augments, augments)
    assert recipe.augmentation.copies == (10 if augments else 1)


def test_a_change_replaces_only_its_own_value():
    recipe = read_recipe(RECIPES / "unet-3c.toml", ["training.epochs=5", "network.width=16"])
    assert (recipe.training.epochs, recipe.network.width, recipe.network.depth) == (5, 16, 4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("training.colour=1", "training.colour: Extra inputs"),
        ("training.epochs=0", "training.epochs: Input should be greater"),
        ("training.loss='jaccard'", "training.loss: Input should be 'dice'"),
        ("augmentation.blur=1.5", "augmentation.blur: Input should be less"),
        ("training.epochs", "expected TOML"),
    ],
)
def test_an_invalid_change_is_rejected_with_its_key(change, message):
    with pytest.raises(ValueError, match=message):
        read_recipe(RECIPES / "unet-3c.toml", [change])


def test_a_recipe_with_missing_keys_is_rejected_with_their_names(tmp_path):
    (tmp_path / "recipe.toml").write_text("name = 'mine'")
    with pytest.raises(ValueError, match=r"version: Field required.* training: Field required"):
        read_recipe(tmp_path / "recipe.toml")
