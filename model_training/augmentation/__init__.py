"""Augmentation of a batch of slices, on whatever device trains."""

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

from model_training.augmentation import intensity
from model_training.augmentation.draws import Draws
from model_training.augmentation.spatial import random_map, sample
from model_training.recipe import Augmentation
from service.segmentation.case import Modality

INTENSITY: dict[str, Callable[[Tensor, Draws], Tensor]] = {
    "blur": intensity.blur,
    "noise": intensity.add_noise,
    "gamma": intensity.vary_gamma,
    "bias_field": intensity.add_bias_field,
    "contrast": intensity.vary_contrast,
}


def augment(
    slices: Tensor, labels: Tensor, frame: tuple[int, int], recipe: Augmentation, draws: Draws
) -> tuple[Tensor, Tensor]:
    """Slices (B, C, Y, X) and labels (B, 1, Y, X) in a frame (H, W), moved and shaded as the recipe says.

    One interpolation, linear for the slices and nearest for the labels; without spatial augmentation the frame is cut
    from the middle.
    """
    if recipe.spatial:
        coordinates = random_map(frame, (slices.shape[-2], slices.shape[-1]), recipe.elastic, draws)
        slices, labels = sample(slices, coordinates, "bilinear"), sample(labels, coordinates, "nearest")
    else:
        slices, labels = cut(slices, frame), cut(labels, frame)
    stacks = slices.unflatten(1, (-1, len(Modality)))
    for name, change in INTENSITY.items():
        chosen = draws.chance(getattr(recipe, name))
        if chosen.any():
            stacks[chosen] = change(stacks[chosen], draws.of(chosen))
    return stacks.flatten(1, 2), labels


def cut(images: Tensor, frame: tuple[int, int]) -> Tensor:
    """The middle of images (B, C, Y, X) in a frame (H, W), with zeros around them where the frame is larger."""
    (top, bottom), (left, right) = (_margins(*lengths) for lengths in zip(images.shape[-2:], frame, strict=True))
    return functional.pad(images, (left, right, top, bottom))


def _margins(length: int, frame: int) -> tuple[int, int]:
    before = (frame - length) // 2
    return before, frame - length - before
