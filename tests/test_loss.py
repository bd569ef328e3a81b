import math

import pytest
import torch
from torch.autograd import gradcheck

from model_training.training.loss import SMOOTHING, batch_dice_loss, compute_loss, cross_entropy, dice_loss

TRUTH = torch.tensor([[[[1.0, 0, 0, 0]], [[0, 1, 1, 1]]], [[[1.0, 1, 0, 0]], [[0, 0, 1, 1]]]])  # (2, 2, 1, 4)
HALF = torch.full_like(TRUTH, 0.5)


def test_dice_loss_equals_equation_1_calculated_by_hand():
    first = (1 - 1 / 4) * (1 - (2 * 0.5 + SMOOTHING) / (2 + 1 + SMOOTHING)) + (1 - 3 / 4) * (
        1 - (2 * 1.5 + SMOOTHING) / (2 + 3 + SMOOTHING)
    )
    second = 2 * (1 - 2 / 4) * (1 - (2 * 1 + SMOOTHING) / (2 + 2 + SMOOTHING))
    assert dice_loss(HALF, TRUTH).item() == pytest.approx(first + second)


def test_batch_dice_loss_equals_equation_2_calculated_by_hand():
    weights = (1 - 3 / 8, 1 - 5 / 8)  # (2a)
    dice = ((2 * 1.5 + SMOOTHING) / (4 + 3 + SMOOTHING), (2 * 2.5 + SMOOTHING) / (4 + 5 + SMOOTHING))  # (2b)
    expected = weights[0] * (1 - dice[0]) + weights[1] * (1 - dice[1])  # (2c)
    assert batch_dice_loss(HALF, TRUTH).item() == pytest.approx(expected)


def test_cross_entropy_uses_softmax_for_two_channels_and_sigmoid_for_three():
    two = torch.tensor([0.0, math.log(3)]).view(1, 2, 1, 1)  # probabilities 1/4 and 3/4
    assert cross_entropy(two, torch.tensor([0.0, 1]).view(1, 2, 1, 1)).item() == pytest.approx(-math.log(3 / 4))
    three = torch.full((1, 3, 1, 1), math.log(3))
    truth = torch.tensor([1.0, 1, 0]).view(1, 3, 1, 1)
    expected = -(2 * math.log(3 / 4) + math.log(1 / 4)) / 3
    assert cross_entropy(three, truth).item() == pytest.approx(expected)


@pytest.mark.parametrize("loss", [dice_loss, batch_dice_loss])
def test_the_loss_of_a_perfect_prediction_is_zero(loss):
    assert loss(TRUTH, TRUTH).item() == 0


@pytest.mark.parametrize("loss", [dice_loss, batch_dice_loss])
def test_false_positives_increase_the_loss_of_slices_without_tumour(loss):
    nothing = torch.zeros(2, 3, 4, 4)
    assert loss(nothing, nothing).item() == 0
    assert loss(nothing + 0.5, nothing).item() > 1


def test_an_unknown_loss_is_rejected():
    with pytest.raises(ValueError, match="unknown name 'jaccard'"):
        compute_loss("jaccard", HALF, TRUTH)


@pytest.mark.parametrize("name", ["dice", "batch dice", "batch dice + cross-entropy"])
@pytest.mark.parametrize("channels", [2, 3])
def test_gradients_equal_finite_differences(name, channels):
    torch.manual_seed(0)
    logits = torch.randn(3, channels, 4, 5, dtype=torch.float64, requires_grad=True)
    truth = (torch.rand(3, channels, 4, 5) > 0.5).double()
    if channels == 2:
        truth[:, 1] = 1 - truth[:, 0]
    assert gradcheck(lambda values: compute_loss(name, values, truth), logits)
