import numpy as np
import pytest
import torch
from known_networks import make_card, threshold_network
from torch import nn

from service.segmentation.case import Modality
from service.segmentation.labels import Region
from service.segmentation.network import UNet
from service.segmentation.predict import SLICE_BATCH, predict_masks
from service.segmentation.weights import Checkpoint, Model

CPU = torch.device("cpu")
SCORES = np.random.default_rng(0).normal(size=(4, 21, 18, 25)).astype(np.float32)
SCORES[..., :3] = 0  # three slices without brain


class Watched(nn.Module):
    """A network that notes the shapes that it is given."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, slices):
        self.shapes.append(tuple(slices.shape))
        return self.network(slices)


def test_each_network_gets_its_own_modality_in_the_right_place():
    checkpoints = [
        Checkpoint(threshold_network(modality, 1, 0.5), make_card(region))
        for region, modality in zip(Region, (Modality.FLAIR, Modality.T1, Modality.T1GD), strict=True)
    ]
    masks = predict_masks(Model(tuple(checkpoints), CPU), SCORES)
    assert np.array_equal(masks[Region.WT], SCORES[3] > 0.5)
    assert np.array_equal(masks[Region.TC], SCORES[0] > 0.5)
    assert np.array_equal(masks[Region.ET], SCORES[1] > 0.5)


def test_slices_go_in_batches_and_those_without_brain_not_at_all():
    watched = Watched(threshold_network(Modality.FLAIR, 1, 0.5))
    predict_masks(Model((Checkpoint(watched, make_card(Region.WT)),), CPU), SCORES)
    assert watched.shapes == [(SLICE_BATCH, 4, 18, 22), (SLICE_BATCH, 4, 18, 22), (2, 4, 18, 22)]


def test_slices_are_padded_to_what_the_depth_needs():
    watched = Watched(UNet(out_channels=2, width=1, depth=4).eval())
    predict_masks(Model((Checkpoint(watched, make_card(Region.WT, depth=4)),), CPU), SCORES)
    assert watched.shapes[0] == (SLICE_BATCH, 4, 32, 32)


def test_a_network_of_three_channels_answers_by_sigmoid():
    network = UNet(out_channels=3, width=1, depth=1).eval()
    nn.init.zeros_(network.classify.weight)
    network.classify.bias.data = torch.tensor([0.1, -0.1, 0.1])
    masks = predict_masks(Model((Checkpoint(network, make_card(*Region)),), CPU), SCORES)
    assert [bool(masks[region][..., 3:].all()) for region in Region] == [True, False, True]


@pytest.mark.parametrize("region", Region)
def test_air_is_never_tumour(region):
    masks = predict_masks(
        Model(tuple(Checkpoint(threshold_network(Modality.T2, 1, -9), make_card(r)) for r in Region), CPU), SCORES
    )
    assert not masks[region][..., :3].any()


def test_a_network_sees_the_slices_that_its_card_names():
    seen = []

    class Eyes(nn.Module):
        def forward(self, slices):
            seen.append(slices)
            return torch.zeros(len(slices), 2, *slices.shape[2:])

    card = make_card(Region.WT, slice_offsets=(-2, 0, 1))
    predict_masks(Model((Checkpoint(Eyes(), card),), CPU), SCORES)
    slices = torch.cat(seen).reshape(22, 3, 4, 18, 22)[..., :21].numpy()  # from slice 3 on, as the first hold no brain
    padded = np.pad(SCORES, ((0, 0), (0, 0), (0, 0), (0, 1))).transpose(3, 0, 2, 1)
    for place, offset in enumerate((-2, 0, 1)):
        assert np.array_equal(slices[:, place], padded[3 + offset : 25 + offset])


def test_a_mirrored_network_answers_the_same_for_a_mirrored_brain():
    torch.manual_seed(0)
    network = UNet(out_channels=2, width=2, depth=1).eval()
    network.classify.bias.data = torch.tensor([0.0, 0.0])
    for mirrored in (False, True):
        model = Model((Checkpoint(network, make_card(Region.WT, width=2, mirrored=mirrored)),), CPU)
        even = SCORES[:, :20]  # a width that needs no padding, which is on one side only
        plain = predict_masks(model, even)[Region.WT]
        turned = predict_masks(model, np.ascontiguousarray(even[:, ::-1]))[Region.WT][::-1]
        assert 0.01 < plain[..., 3:].mean() < 0.99
        assert np.array_equal(plain, turned) == mirrored
