"""Weights to start from: those of another run, of the same region or of all three in one network."""

from torch import Tensor

from service.segmentation.card import Card
from service.segmentation.labels import Region
from service.segmentation.model import Checkpoint, Model


def starting_weights(model: Model, card: Card) -> dict[str, Tensor]:
    """The state of a model's network that has a card's regions, or of one for all three narrowed to a card's region.

    Raises ValueError where the networks differ in more than that.
    """
    source = next(each for each in model.checkpoints if card.regions[0] in each.card.regions)
    if _shape(source.card) != _shape(card) or not set(card.regions) <= set(source.card.regions):
        raise ValueError(f"start: expected {_name(card)}, found {_name(source.card)}")
    if source.card.regions == card.regions:
        return source.network.state_dict()
    [region] = card.regions
    return _narrowed(source, region)


def _narrowed(source: Checkpoint, region: Region) -> dict[str, Tensor]:
    """One region's sigmoid channel as two softmax channels: the same function, as softmax(0, z) is sigmoid(z)."""
    channel = source.card.regions.index(region)
    state = source.network.state_dict()
    for name in ("classify.weight", "classify.bias"):
        foreground = state[name][channel : channel + 1]
        state[name] = foreground.new_zeros(2, *foreground.shape[1:])
        state[name][1:] = foreground
    return state


def _shape(card: Card) -> tuple[int, int, tuple[int, ...]]:
    return card.width, card.depth, card.slice_offsets


def _name(card: Card) -> str:
    return f"{'-'.join(card.regions)} of width {card.width}, depth {card.depth}, slices {card.slice_offsets}"
