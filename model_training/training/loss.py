"""Loss functions: equations (1) and (2) of the paper, and equation (2) plus cross-entropy.

Probabilities and ground truth have the shape (B, C, H, W); the ground truth is 0 or 1. The channels are background and
foreground of one region, or the three regions.
"""

from torch import Tensor
from torch.nn import functional

from model_training import processes
from model_training.processes import sum_over_processes
from service.networks.unet import probabilities

SMOOTHING = 1.0  # s of equations (1b) and (2b); the paper does not state its value


def dice_loss(predicted: Tensor, truth: Tensor) -> Tensor:
    """Equation (1): weighted sum of 1 - Dice over slices and channels.

    The weight is the fraction of the slice's ground truth that belongs to the other channels. In a slice without
    ground truth every channel has weight 1.
    """
    within_slice = (2, 3)
    size = truth.sum(within_slice)  # (B, C)
    weight = 1 - size / size.sum(dim=1, keepdim=True).clamp(min=1)  # (1a)
    overlap = (predicted * truth).sum(within_slice)
    dice = (2 * overlap + SMOOTHING) / (predicted.sum(within_slice) + size + SMOOTHING)  # (1b)
    return (weight * (1 - dice)).sum() * processes.world_size()  # (1c); the processes average their losses


def batch_dice_loss(predicted: Tensor, truth: Tensor) -> Tensor:
    """Equation (2): equation (1) with the whole batch, over all processes, treated as one image.

    For two channels the weight of each is the other's fraction: 1 - g_1 / (g_0 + g_1) = g_0 / (g_0 + g_1). The paper's
    public code computes that fraction with smoothing. Three channels overlap, so this identity does not hold for them.
    """
    over_batch = (0, 2, 3)
    overlap = sum_over_processes((predicted * truth).sum(over_batch))
    predicted_size = sum_over_processes(predicted.sum(over_batch))
    size = sum_over_processes(truth.sum(over_batch))  # (C,)
    weight = 1 - size / size.sum().clamp(min=1)  # (2a)
    dice = (2 * overlap + SMOOTHING) / (predicted_size + size + SMOOTHING)  # (2b)
    return (weight * (1 - dice)).sum()  # (2c)


def cross_entropy(logits: Tensor, truth: Tensor) -> Tensor:
    """Mean over pixels and regions: softmax cross-entropy for two channels, binary cross-entropy for three."""
    if logits.shape[1] == 2:
        return functional.cross_entropy(logits, truth)
    return functional.binary_cross_entropy_with_logits(logits, truth)


def compute_loss(name: str, logits: Tensor, truth: Tensor) -> Tensor:
    """Compute the loss that a recipe selects by name."""
    match name:
        case "dice":
            return dice_loss(probabilities(logits), truth)
        case "batch dice":
            return batch_dice_loss(probabilities(logits), truth)
        case "batch dice + cross-entropy":
            return batch_dice_loss(probabilities(logits), truth) + cross_entropy(logits, truth)
        case _:
            raise ValueError(f"loss: unknown name {name!r}")
