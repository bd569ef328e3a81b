"""Augmentation of a batch of slices, on the training device."""

from collections.abc import Callable

from torch import Tensor

from model_training.augmentation import intensity
from model_training.augmentation.random_streams import RandomStreams
from model_training.augmentation.spatial import interpolate, random_sampling_grid
from model_training.recipe import Augmentation
from service.imaging.case import Modality
from service.networks.crop import crop_or_pad

INTENSITY: dict[str, Callable[[Tensor, RandomStreams], Tensor]] = {
    "blur": intensity.blur,
    "noise": intensity.add_noise,
    "gamma": intensity.vary_gamma,
    "bias_field": intensity.add_bias_field,
    "contrast": intensity.vary_contrast,
    "modality_dropout": intensity.drop_modalities,
}


def augment(
    slices: Tensor, labels: Tensor, patch_size: tuple[int, int], recipe: Augmentation, streams: RandomStreams
) -> tuple[Tensor, Tensor]:
    """Augment slices (B, C, Y, X) and labels (B, 1, Y, X) as the recipe says, and return patches (H, W) of them.

    There is one interpolation, linear for the slices and nearest-neighbour for the labels. Without spatial augmentation
    the patch is the centre of the slice.
    """
    if recipe.spatial:
        slice_shape = slices.shape[-2], slices.shape[-1]
        grid = random_sampling_grid(patch_size, slice_shape, recipe.elastic, streams)
        slices, labels = interpolate(slices, grid, "bilinear"), interpolate(labels, grid, "nearest")
    else:
        slices, labels = crop_or_pad(slices, patch_size), crop_or_pad(labels, patch_size)
    stacks = slices.unflatten(1, (-1, len(Modality)))
    for name, change in INTENSITY.items():
        selected = streams.bernoulli(getattr(recipe, name))
        if selected.any():
            stacks[selected] = change(stacks[selected], streams.select(selected))
    return stacks.flatten(1, 2), labels
