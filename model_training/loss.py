"""The batch Dice loss of the paper, equation (2)."""

from torch import Tensor

SMOOTHING = 1.0


def batch_dice_loss(probabilities: Tensor, truth: Tensor) -> Tensor:
    """Equation (2): one minus the Dice of each channel over the whole batch, weighted by what the channel lacks.

    Probabilities and truth are (B, C, H, W), the truth 0 or 1 and one-hot over channels. A batch without any truth
    weighs every channel 1.
    """
    over_batch = (0, 2, 3)
    overlap = (probabilities * truth).sum(over_batch)
    size = truth.sum(over_batch)  # of each channel
    weight = 1 - size / size.sum().clamp(min=1)  # (2a)
    dice = (2 * overlap + SMOOTHING) / (probabilities.sum(over_batch) + size + SMOOTHING)  # (2b)
    return (weight * (1 - dice)).sum()  # (2c)
