from collections.abc import Callable

import numpy as np
import pytest
import torch
from support.known_networks import make_card, random_networks, threshold_network
from torch import Tensor, nn

from service.imaging.case import Modality
from service.imaging.labels import Region
from service.networks.model import DEFAULT_BATCH_SIZE, Checkpoint, Model
from service.networks.unet import UNet
from service.segmentation.fuse import slices_with
from service.segmentation.predict import find_mask, fit_batch_size, predict_masks

CPU, META = torch.device("cpu"), torch.device("meta")
INTENSITIES = np.random.default_rng(0).normal(size=(4, 21, 18, 25)).astype(np.float32)
INTENSITIES[..., :3] = 0  # three slices without brain


class RecordingNetwork(nn.Module):
    """A network that records its input slices, and may run out of memory instead."""

    def __init__(
        self, network: Callable[[Tensor], Tensor], out_of_memory: Callable[[Tensor], bool] = lambda _: False
    ) -> None:
        super().__init__()
        self.network, self.out_of_memory = network, out_of_memory
        self.seen: list[Tensor] = []

    def __deepcopy__(self, _: object) -> "RecordingNetwork":
        return self  # the copy for another device keeps recording here

    def forward(self, slices):
        if self.out_of_memory(slices):
            raise torch.OutOfMemoryError
        self.seen.append(slices)
        return self.network(slices)

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        return [tuple(slices.shape) for slices in self.seen]


def model_of(*networks: nn.Module, device: torch.device = CPU, **card: object) -> Model:
    """A model with these networks for the first regions."""
    pairs = zip(networks, Region, strict=False)
    return Model(tuple(Checkpoint(network, make_card(region, **card)) for network, region in pairs), device)


def brain_intensities() -> np.ndarray:
    """Intensities of a ball of brain: the windows differ from block to block."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in (70, 90, 47)), indexing="ij")
    return np.random.default_rng(1).normal(size=(4, 70, 90, 47)).astype(np.float32) * (x**2 + y**2 + z**2 < 1)


def test_each_modality_is_in_its_own_channel():
    networks = [threshold_network(modality, 1, 0.5) for modality in (Modality.FLAIR, Modality.T1, Modality.T1GD)]
    masks = predict_masks(model_of(*networks), INTENSITIES).masks
    enhancing, core, whole = INTENSITIES[1] > 0.5, INTENSITIES[0] > 0.5, INTENSITIES[3] > 0.5
    assert np.array_equal(masks[Region.WT], whole)
    assert np.array_equal(masks[Region.TC], (core | enhancing) & whole)
    assert np.array_equal(masks[Region.ET], enhancing & whole)


def test_slices_are_batched_and_slices_without_brain_are_skipped():
    network = RecordingNetwork(threshold_network(Modality.FLAIR, 1, 0.5))
    prediction = predict_masks(model_of(network), INTENSITIES)
    assert [shape[0] for shape in network.shapes] == [7, DEFAULT_BATCH_SIZE, 5]  # blocks begin at slices 0, 10 and 20
    assert prediction.slices_run == {"wt": 22}
    assert not prediction.degraded


def test_a_window_contains_the_brain_of_its_block_and_is_a_multiple_of_the_stride():
    intensities = np.zeros((4, 64, 64, 20), np.float32)
    intensities[2, 20:30, 40:60, 3] = 1
    intensities[1, 5:8, 6:20, 15] = 1
    network = RecordingNetwork(threshold_network(Modality.T2, 1, 0.5))
    masks = predict_masks(model_of(network, depth=4), intensities).masks
    assert network.shapes == [(1, 4, 32, 16), (1, 4, 16, 16)]
    assert np.array_equal(masks[Region.WT], intensities[2] > 0.5)


def test_inner_networks_run_only_on_slices_with_the_outer_region():
    intensities = brain_intensities()
    intensities[3] = 0
    intensities[3, 30:40, 40:50, 20:24] = 9
    networks = [threshold_network(Modality.FLAIR, 1, 5), *random_networks()[1:]]
    slices_run = predict_masks(model_of(*networks, depth=2), intensities).slices_run
    assert slices_run["wt"] == 45
    assert slices_run["tc"] == 4
    assert slices_run["et"] == 4


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_the_cascade_is_bit_identical_to_running_every_network(precision):
    model, intensities = model_of(*random_networks(), width=4, depth=2).optimised(precision), brain_intensities()
    cascade = predict_masks(model, intensities)
    assert 0 < cascade.masks[Region.ET].sum() < cascade.masks[Region.TC].sum() < cascade.masks[Region.WT].sum()
    slices = slices_with(cascade.masks[Region.WT])
    masks = {}
    for checkpoint in model.checkpoints:
        [region] = checkpoint.card.regions
        alone = predict_masks(Model((checkpoint,), CPU, precision), intensities)
        probability = alone.probabilities[region]
        assert np.array_equal(cascade.probabilities[region][..., slices], probability[..., slices])
        masks[region] = alone.masks[region] if region == Region.WT else find_mask(probability, slices)
    whole, core, enhancing = masks.values()
    assert np.array_equal(cascade.masks[Region.WT], whole)
    assert np.array_equal(cascade.masks[Region.TC], (core | enhancing) & whole)
    assert np.array_equal(cascade.masks[Region.ET], enhancing & whole)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_masks_are_bit_identical_for_every_slice_batch(precision):
    model, intensities = model_of(*random_networks(), width=4, depth=2).optimised(precision), brain_intensities()
    expected = predict_masks(model, intensities).masks
    for batch_size in (1, 2, 3, 5, 20):
        batched = Model(model.checkpoints, CPU, precision, batch_size)
        for region, mask in predict_masks(batched, intensities).masks.items():
            assert np.array_equal(mask, expected[region])


def test_folding_batch_norm_changes_logits_by_rounding_only():
    model, slices = model_of(*random_networks(), width=4, depth=2), torch.randn(2, 4, 16, 16)
    folded = model.optimised(torch.float32)
    for before, after in zip(model.checkpoints, folded.checkpoints, strict=True):
        assert torch.allclose(before.network(slices), after.network(slices), atol=1e-5)
        assert not any(isinstance(layer, nn.BatchNorm2d) for layer in after.network.modules())


def test_out_of_memory_halves_the_batch_and_retries():
    network = RecordingNetwork(threshold_network(Modality.FLAIR, 1, 0.5), out_of_memory=lambda slices: len(slices) > 3)
    model = model_of(network)
    prediction = predict_masks(model, INTENSITIES)
    assert prediction.degraded
    assert max(len(slices) for slices in network.seen) == 2  # after batches of 10 and 5 failed
    assert np.array_equal(prediction.masks[Region.WT], INTENSITIES[3] > 0.5)
    assert model.batch_size == DEFAULT_BATCH_SIZE  # unchanged for the next case


def test_out_of_memory_with_one_slice_falls_back_to_the_cpu():
    network = RecordingNetwork(
        threshold_network(Modality.FLAIR, 1, 0.5), out_of_memory=lambda slices: slices.device == META
    )
    prediction = predict_masks(model_of(network, device=META), INTENSITIES)
    assert prediction.degraded
    assert {slices.device for slices in network.seen} == {CPU}
    on_cpu = predict_masks(model_of(threshold_network(Modality.FLAIR, 1, 0.5)).optimised(), INTENSITIES)
    assert np.array_equal(prediction.masks[Region.WT], on_cpu.masks[Region.WT])


def test_out_of_memory_with_one_slice_on_the_cpu_is_an_error():
    with pytest.raises(torch.OutOfMemoryError):
        predict_masks(model_of(RecordingNetwork(nn.Identity(), out_of_memory=lambda _: True)), INTENSITIES)


def test_the_slice_batch_is_fitted_to_the_memory_at_startup():
    network = RecordingNetwork(threshold_network(Modality.FLAIR, 1, 0.5), out_of_memory=lambda slices: len(slices) > 6)
    fitted = fit_batch_size(model_of(network))
    assert fitted.batch_size == 5
    assert network.shapes[0] == (5, 4, 256, 256)
    assert not predict_masks(fitted, INTENSITIES).degraded


def test_a_three_channel_network_uses_the_sigmoid():
    network = UNet(out_channels=3, width=1, depth=1).eval()
    nn.init.zeros_(network.classify.weight)
    network.classify.bias.data = torch.tensor([0.1, 0.1, -0.1])
    masks = predict_masks(Model((Checkpoint(network, make_card(*Region)),), CPU), INTENSITIES).masks
    assert [bool(masks[region][..., 3:].all()) for region in Region] == [True, True, False]


@pytest.mark.parametrize("region", Region)
def test_background_is_never_tumour(region):
    masks = predict_masks(model_of(*(threshold_network(Modality.T2, 1, -9) for _ in Region)), INTENSITIES).masks
    assert not masks[region][..., :3].any()
    assert masks[region][..., 3:].all()


def test_a_network_gets_the_slice_offsets_of_its_model_card():
    network = RecordingNetwork(lambda slices: torch.zeros(len(slices), 2, *slices.shape[2:]))
    predict_masks(model_of(network, slice_offsets=(-2, 0, 1)), INTENSITIES)
    slices = torch.cat(network.seen).reshape(22, 3, 4, 18, 22)[..., :21].numpy()  # the first three slices have no brain
    padded = np.pad(INTENSITIES, ((0, 0), (0, 0), (0, 0), (0, 1))).transpose(3, 0, 2, 1)
    for channel, offset in enumerate((-2, 0, 1)):
        assert np.array_equal(slices[:, channel], padded[3 + offset : 25 + offset])


def test_flip_tta_gives_a_flipped_mask_for_a_flipped_brain():
    torch.manual_seed(0)
    network = UNet(out_channels=2, width=2, depth=1).eval()
    network.classify.bias.data = torch.tensor([0.0, 0.0])
    for flip_tta in (False, True):
        model = model_of(network, width=2, flip_tta=flip_tta)
        even = INTENSITIES[:, :20]  # a width without padding, which would be on one side only
        plain = predict_masks(model, even).masks[Region.WT]
        flipped = predict_masks(model, np.ascontiguousarray(even[:, ::-1])).masks[Region.WT][::-1]
        assert 0.01 < plain[..., 3:].mean() < 0.99
        assert np.array_equal(plain, flipped) == flip_tta
