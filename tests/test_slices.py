import numpy as np
import torch
from tiny import RECIPE, change

from model_training.data.prepare import Content
from model_training.data.slices import SliceDataset, truth_channels
from service.imaging.labels import Region, region_masks
from service.segmentation.slices import AxialSlices, Crop


def test_an_epoch_has_every_slice_with_tumour_and_a_fraction_of_the_others(tiny_cases):
    slices = SliceDataset(tiny_cases["train"], RECIPE)
    contents = np.concatenate([case.contents for case in tiny_cases["train"]])
    with_tumour = set(np.flatnonzero(contents == Content.TUMOUR))
    drawn = [index for index, _ in slices.epoch_order(0)]
    assert with_tumour <= set(drawn)
    assert len(drawn) == len(set(drawn)) == len(with_tumour) + round(0.5 * (28 - len(with_tumour)))


def test_the_order_differs_between_epochs_and_is_reproducible(tiny_cases):
    slices = SliceDataset(tiny_cases["train"], RECIPE)
    assert slices.epoch_order(3) == SliceDataset(tiny_cases["train"], RECIPE).epoch_order(3)
    assert slices.epoch_order(3) != slices.epoch_order(4)


def test_the_batches_of_an_epoch_follow_its_order_without_the_incomplete_last_batch(tiny_cases):
    slices = SliceDataset(tiny_cases["train"], change(RECIPE, "training", batch=5))
    batches, order = slices.batches(1), slices.epoch_order(1)
    assert len(batches) == slices.steps_per_epoch() == len(order) // 5
    assert [item for batch in batches for item in batch] == order[: 5 * len(batches)]


def test_with_ten_copies_an_epoch_has_each_slice_ten_times(tiny_cases):
    recipe = change(change(RECIPE, "augmentation", copies=10), "training", background_share=1)
    order = SliceDataset(tiny_cases["train"], recipe).epoch_order(1)
    assert sorted(order) == [(index, copy) for index in range(28) for copy in range(10)]


def test_each_epoch_has_new_copies_if_the_recipe_says_so(tiny_cases):
    slices = SliceDataset(tiny_cases["train"], change(RECIPE, "augmentation", copies=2, new_each_epoch=True))
    assert {copy for _, copy in slices.epoch_order(3)} == {6, 7}


def test_empty_slices_are_skipped(tiny_cases):
    [case, _] = tiny_cases["train"]
    contents = case.contents.copy()
    contents[[0, 5]] = Content.EMPTY
    emptied = type(case)(case.name, case.intensities, case.labels, contents)
    assert len(SliceDataset([emptied], RECIPE)) == 12


def test_a_slice_has_the_same_neighbours_as_in_the_service(tiny_cases):
    recipe = change(RECIPE, "network", slice_offsets=(-2, 0, 2))
    [case] = tiny_cases["validation"]
    slices = SliceDataset([case], recipe)
    samples = torch.stack([slices[index, 0].slices for index in range(14)]).numpy()
    served = AxialSlices(case.volumes, reach=2, stride=1, precision=torch.float32)
    whole = Crop(slice(0, case.labels.shape[1]), slice(0, case.labels.shape[2]))
    assert np.array_equal(samples, served.take(np.arange(14), whole, (-2, 0, 2)))
    assert not samples[0, :4].any()  # the first slice has no neighbour two slices below
    assert np.array_equal(samples[0, 8:], samples[2, 4:8])


def test_the_patch_size_is_rounded_up_to_the_stride_of_the_network(tiny_cases):
    recipe = change(RECIPE, "network", depth=4)
    assert SliceDataset(tiny_cases["train"], change(recipe, "training", patch_size=(90, 97))).patch_size == (96, 112)
    slices = SliceDataset(tiny_cases["train"], change(recipe, "training", patch_size=None))
    assert all(0 <= padded - length < 16 for padded, length in zip(slices.patch_size, slices.shape, strict=True))
    assert all(length % 16 == 0 for length in slices.patch_size)


def test_the_target_is_background_and_foreground_or_the_three_regions(tiny_cases):
    labels = torch.from_numpy(tiny_cases["test"][0].labels[:, None].astype(np.float32))
    masks = region_masks(labels.numpy())
    assert all(mask.any() for mask in masks.values())
    for region in Region:
        background, foreground = truth_channels(labels, (region,)).unbind(1)
        assert np.array_equal(foreground, masks[region][:, 0])
        assert np.array_equal(background, ~masks[region][:, 0])
    assert np.array_equal(truth_channels(labels, tuple(Region)), np.concatenate(list(masks.values()), axis=1))


def test_a_recipe_can_transplant_tumours_reproducibly(tiny_cases):
    plain, changed, repeated = (
        SliceDataset(tiny_cases["train"], change(RECIPE, "augmentation", transplant=probability))
        for probability in (0, 1, 1)
    )
    assert all(torch.equal(changed[index, 0].slices, repeated[index, 0].slices) for index in range(28))
    assert any(not torch.equal(plain[index, 0].labels, changed[index, 0].labels) for index in range(28))
