"""Initial weights from another run: from its network for the same region, or from one network for all three."""

from torch import Tensor

from service.imaging.labels import Region
from service.networks.model import Checkpoint, Model
from service.networks.model_card import ModelCard


def initial_state(source_model: Model, card: ModelCard) -> dict[str, Tensor]:
    """Return the state dict from which to start the network that a model card describes.

    The source is the network for the same region, or the network for all three regions reduced to that region.
    Raises ValueError if width, depth, slice offsets or regions do not match.
    """
    source = next(checkpoint for checkpoint in source_model.checkpoints if card.regions[0] in checkpoint.card.regions)
    if _architecture(source.card) != _architecture(card) or not set(card.regions) <= set(source.card.regions):
        raise ValueError(f"initial weights: expected {_describe(card)}, found {_describe(source.card)}")
    if source.card.regions == card.regions:
        return source.network.state_dict()
    [region] = card.regions
    return _reduce_to_region(source, region)


def _reduce_to_region(source: Checkpoint, region: Region) -> dict[str, Tensor]:
    """Convert one region's sigmoid channel to two softmax channels; they are equal, as softmax(0, z) = sigmoid(z)."""
    channel = source.card.regions.index(region)
    state = source.network.state_dict()
    for name in ("classify.weight", "classify.bias"):
        foreground = state[name][channel : channel + 1]
        state[name] = foreground.new_zeros(2, *foreground.shape[1:])
        state[name][1:] = foreground
    return state


def _architecture(card: ModelCard) -> tuple[int, int, tuple[int, ...]]:
    return card.width, card.depth, card.slice_offsets


def _describe(card: ModelCard) -> str:
    return f"{'-'.join(card.regions)} of width {card.width}, depth {card.depth}, slice offsets {card.slice_offsets}"
