"""Cropping and padding of slices to one size."""

from torch import Tensor
from torch.nn import functional


def crop_or_pad(images: Tensor, patch_size: tuple[int, int]) -> Tensor:
    """Crop images (B, C, Y, X) to the central patch (H, W), with zero padding if the patch is larger."""
    (top, bottom), (left, right) = (_margins(*lengths) for lengths in zip(images.shape[-2:], patch_size, strict=True))
    return functional.pad(images, (left, right, top, bottom))


def _margins(length: int, patch_length: int) -> tuple[int, int]:
    before = (patch_length - length) // 2
    return before, patch_length - length - before
