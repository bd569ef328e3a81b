from support.known_networks import make_card, random_networks, threshold_network
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from service.segmentation.case import Modality
from service.segmentation.labels import Region
from service.segmentation.model import SLICE_BATCH, Checkpoint, Model
from service.segmentation.network import UNet
from service.segmentation.predict import fit_memory, predict_masks

CPU, META = torch.device("cpu"), torch.device("meta")
SCORES = np.random.default_rng(0).normal(size=(4, 21, 18, 25)).astype(np.float32)
SCORES[..., :3] = 0  # three slices without brain


class Watched(nn.Module):
    """A network that notes the slices that it is given, and may refuse them first."""

    def __init__(self, network: Callable[[Tensor], Tensor], refuse: Callable[[Tensor], bool] = lambda _: False) -> None:
        super().__init__()
        self.network, self.refuse = network, refuse
        self.seen: list[Tensor] = []

    def __deepcopy__(self, _: object) -> "Watched":
        return self  # on another device it goes on noting

    def forward(self, slices):
        if self.refuse(slices):
            raise torch.OutOfMemoryError
        self.seen.append(slices)
        return self.network(slices)

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        return [tuple(slices.shape) for slices in self.seen]


def model_of(*networks: nn.Module, device: torch.device = CPU, **card: object) -> Model:
    """A model of one network for each of the first regions."""
    pairs = zip(networks, Region, strict=False)
    return Model(tuple(Checkpoint(network, make_card(region, **card)) for network, region in pairs), device)


def brain_scores() -> np.ndarray:
    """A ball of brain, so that windows differ from block to block."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in (70, 90, 47)), indexing="ij")
    return np.random.default_rng(1).normal(size=(4, 70, 90, 47)).astype(np.float32) * (x**2 + y**2 + z**2 < 1)


def test_each_modality_is_in_its_own_channel():
    networks = [threshold_network(modality, 1, 0.5) for modality in (Modality.FLAIR, Modality.T1, Modality.T1GD)]
    masks = predict_masks(model_of(*networks), SCORES).masks
    assert np.array_equal(masks[Region.WT], SCORES[3] > 0.5)
    assert np.array_equal(masks[Region.TC], (SCORES[3] > 0.5) & (SCORES[0] > 0.5))
    assert np.array_equal(masks[Region.ET], masks[Region.TC] & (SCORES[1] > 0.5))


def test_slices_are_batched_and_slices_without_brain_are_skipped():
    watched = Watched(threshold_network(Modality.FLAIR, 1, 0.5))
    prediction = predict_masks(model_of(watched), SCORES)
    assert [shape[0] for shape in watched.shapes] == [7, SLICE_BATCH, 5]  # blocks begin at slices 0, 10 and 20
    assert prediction.slices_run == {"wt": 22}
    assert not prediction.degraded


def test_a_window_contains_the_brain_of_its_block_and_is_a_multiple_of_the_stride():
    scores = np.zeros((4, 64, 64, 20), np.float32)
    scores[2, 20:30, 40:60, 3] = 1
    scores[1, 5:8, 6:20, 15] = 1
    watched = Watched(threshold_network(Modality.T2, 1, 0.5))
    masks = predict_masks(model_of(watched, depth=4), scores).masks
    assert watched.shapes == [(1, 4, 32, 16), (1, 4, 16, 16)]
    assert np.array_equal(masks[Region.WT], scores[2] > 0.5)


def test_inner_networks_run_only_on_slices_with_the_outer_region():
    scores = brain_scores()
    scores[3] = 0
    scores[3, 30:40, 40:50, 20:24] = 9
    networks = [threshold_network(Modality.FLAIR, 1, 5), *random_networks()[1:]]
    slices_run = predict_masks(model_of(*networks, depth=2), scores).slices_run
    assert slices_run["wt"] == 45
    assert slices_run["tc"] == 4
    assert slices_run["et"] <= 4


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_the_cascade_is_bit_identical_to_running_every_network(precision):
    model, scores = model_of(*random_networks(), width=4, depth=2).optimised(precision), brain_scores()
    masks = predict_masks(model, scores).masks
    alone = [predict_masks(Model((c,), CPU, precision), scores).masks[c.card.regions[0]] for c in model.checkpoints]
    assert 0 < masks[Region.ET].sum() < masks[Region.TC].sum() < masks[Region.WT].sum()
    assert np.array_equal(masks[Region.WT], alone[0])
    assert np.array_equal(masks[Region.TC], alone[0] & alone[1])
    assert np.array_equal(masks[Region.ET], alone[0] & alone[1] & alone[2])


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_masks_are_bit_identical_for_every_slice_batch(precision):
    model, scores = model_of(*random_networks(), width=4, depth=2).optimised(precision), brain_scores()
    expected = predict_masks(model, scores).masks
    for slice_batch in (1, 2, 3, 5, 20):
        batched = Model(model.checkpoints, CPU, precision, slice_batch)
        for region, mask in predict_masks(batched, scores).masks.items():
            assert np.array_equal(mask, expected[region])


def test_folding_batch_norm_changes_logits_by_rounding_only():
    model, slices = model_of(*random_networks(), width=4, depth=2), torch.randn(2, 4, 16, 16)
    folded = model.optimised(torch.float32)
    for before, after in zip(model.checkpoints, folded.checkpoints, strict=True):
        assert torch.allclose(before.network(slices), after.network(slices), atol=1e-5)
        assert not any(isinstance(layer, nn.BatchNorm2d) for layer in after.network.modules())


def test_out_of_memory_halves_the_batch_and_retries():
    watched = Watched(threshold_network(Modality.FLAIR, 1, 0.5), refuse=lambda slices: len(slices) > 3)
    model = model_of(watched)
    prediction = predict_masks(model, SCORES)
    assert prediction.degraded
    assert {len(slices) for slices in watched.seen} <= {1, 2}  # 10, 5, 2
    assert np.array_equal(prediction.masks[Region.WT], SCORES[3] > 0.5)
    assert model.slice_batch == SLICE_BATCH  # for the next case


def test_out_of_memory_with_one_slice_falls_back_to_the_cpu():
    watched = Watched(threshold_network(Modality.FLAIR, 1, 0.5), refuse=lambda slices: slices.device == META)
    prediction = predict_masks(model_of(watched, device=META), SCORES)
    assert prediction.degraded
    assert {slices.device for slices in watched.seen} == {CPU}
    on_cpu = predict_masks(model_of(threshold_network(Modality.FLAIR, 1, 0.5)).optimised(), SCORES)
    assert np.array_equal(prediction.masks[Region.WT], on_cpu.masks[Region.WT])


def test_out_of_memory_with_one_slice_on_the_cpu_is_an_error():
    with pytest.raises(torch.OutOfMemoryError):
        predict_masks(model_of(Watched(nn.Identity(), refuse=lambda _: True)), SCORES)


def test_the_slice_batch_is_fitted_to_the_memory_at_startup():
    watched = Watched(threshold_network(Modality.FLAIR, 1, 0.5), refuse=lambda slices: len(slices) > 6)
    fitted = fit_memory(model_of(watched))
    assert fitted.slice_batch == 5
    assert watched.shapes[0] == (5, 4, 256, 256)
    assert not predict_masks(fitted, SCORES).degraded


def test_a_three_channel_network_uses_the_sigmoid():
    network = UNet(out_channels=3, width=1, depth=1).eval()
    nn.init.zeros_(network.classify.weight)
    network.classify.bias.data = torch.tensor([0.1, 0.1, -0.1])
    masks = predict_masks(Model((Checkpoint(network, make_card(*Region)),), CPU), SCORES).masks
    assert [bool(masks[region][..., 3:].all()) for region in Region] == [True, True, False]


@pytest.mark.parametrize("region", Region)
def test_background_is_never_tumour(region):
    masks = predict_masks(model_of(*(threshold_network(Modality.T2, 1, -9) for _ in Region)), SCORES).masks
    assert not masks[region][..., :3].any()
    assert masks[region][..., 3:].all()


def test_a_network_gets_the_slice_offsets_of_its_model_card():
    watched = Watched(lambda slices: torch.zeros(len(slices), 2, *slices.shape[2:]))
    predict_masks(model_of(watched, slice_offsets=(-2, 0, 1)), SCORES)
    slices = torch.cat(watched.seen).reshape(22, 3, 4, 18, 22)[..., :21].numpy()  # the first three hold no brain
    padded = np.pad(SCORES, ((0, 0), (0, 0), (0, 0), (0, 1))).transpose(3, 0, 2, 1)
    for place, offset in enumerate((-2, 0, 1)):
        assert np.array_equal(slices[:, place], padded[3 + offset : 25 + offset])


def test_flip_tta_gives_a_flipped_mask_for_a_flipped_brain():
    torch.manual_seed(0)
    network = UNet(out_channels=2, width=2, depth=1).eval()
    network.classify.bias.data = torch.tensor([0.0, 0.0])
    for mirrored in (False, True):
        model = model_of(network, width=2, mirrored=mirrored)
        even = SCORES[:, :20]  # a width that needs no padding, which is on one side only
        plain = predict_masks(model, even).masks[Region.WT]
        turned = predict_masks(model, np.ascontiguousarray(even[:, ::-1])).masks[Region.WT][::-1]
        assert 0.01 < plain[..., 3:].mean() < 0.99
        assert np.array_equal(plain, turned) == mirrored
