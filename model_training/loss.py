"""The losses: equations (1) and (2) of the paper, and the second beside cross-entropy.

Probabilities and truth are (B, C, H, W), the truth 0 or 1. Channels are background and foreground of one region, or the
three regions.
"""

from torch import Tensor
from torch.nn import functional

from model_training import processes
from model_training.processes import sum_over_processes
from service.segmentation.network import probabilities

SMOOTHING = 1.0  # s of equations (1b) and (2b), which the paper does not state


def dice_loss(predicted: Tensor, truth: Tensor) -> Tensor:
    """Equation (1): one minus Dice of each slice and channel, weighted by what the channel lacks in the slice, summed.

    A slice without any truth weighs every channel 1.
    """
    within_slice = (2, 3)
    size = truth.sum(within_slice)  # (B, C)
    weight = 1 - size / size.sum(dim=1, keepdim=True).clamp(min=1)  # (1a)
    overlap = (predicted * truth).sum(within_slice)
    dice = (2 * overlap + SMOOTHING) / (predicted.sum(within_slice) + size + SMOOTHING)  # (1b)
    return (weight * (1 - dice)).sum() * processes.count()  # (1c); processes average their losses


def batch_dice_loss(predicted: Tensor, truth: Tensor) -> Tensor:
    """Equation (2): the same with the whole batch taken for one image; over all processes, where there are several.

    For two channels the weight of each is the other's share: 1 - g_1 / (g_0 + g_1) = g_0 / (g_0 + g_1). The paper's
    public code computes that share, smoothed; for three channels, which overlap, only the equation is meant.
    """
    over_batch = (0, 2, 3)
    overlap = sum_over_processes((predicted * truth).sum(over_batch))
    predicted_size = sum_over_processes(predicted.sum(over_batch))
    size = sum_over_processes(truth.sum(over_batch))  # (C,)
    weight = 1 - size / size.sum().clamp(min=1)  # (2a)
    dice = (2 * overlap + SMOOTHING) / (predicted_size + size + SMOOTHING)  # (2b)
    return (weight * (1 - dice)).sum()  # (2c)


def cross_entropy(logits: Tensor, truth: Tensor) -> Tensor:
    """Cross-entropy of softmax for two channels, binary of each sigmoid for three; mean over pixels and regions."""
    if logits.shape[1] == 2:
        return functional.cross_entropy(logits, truth)
    return functional.binary_cross_entropy_with_logits(logits, truth)


def loss_of(name: str, logits: Tensor, truth: Tensor) -> Tensor:
    """The loss that a recipe names."""
    match name:
        case "dice":
            return dice_loss(probabilities(logits), truth)
        case "batch dice":
            return batch_dice_loss(probabilities(logits), truth)
        case "batch dice + cross-entropy":
            return batch_dice_loss(probabilities(logits), truth) + cross_entropy(logits, truth)
        case _:
            raise ValueError(f"loss: unknown name {name!r}")
