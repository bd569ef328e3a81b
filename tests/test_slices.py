import numpy as np
import torch
from tiny import RECIPE, change

from model_training.prepare import Content
from model_training.slices import SliceSet, truth_channels
from service.segmentation.labels import Region, region_masks
from service.segmentation.slices import AxialSlices, Window


def test_an_epoch_has_every_tumour_slice_and_a_share_of_the_others(tiny_cases):
    slices = SliceSet(tiny_cases["train"], RECIPE)
    contents = np.concatenate([case.contents for case in tiny_cases["train"]])
    with_tumour = set(np.flatnonzero(contents == Content.TUMOUR))
    drawn = [index for index, _ in slices.epoch(0)]
    assert with_tumour <= set(drawn)
    assert len(drawn) == len(set(drawn)) == len(with_tumour) + round(0.5 * (28 - len(with_tumour)))


def test_epochs_differ_and_are_reproducible(tiny_cases):
    slices = SliceSet(tiny_cases["train"], RECIPE)
    assert slices.epoch(3) == SliceSet(tiny_cases["train"], RECIPE).epoch(3)
    assert slices.epoch(3) != slices.epoch(4)


def test_ten_copies_visit_each_slice_ten_times(tiny_cases):
    recipe = change(change(RECIPE, "augmentation", copies=10), "training", background_share=1)
    visits = SliceSet(tiny_cases["train"], recipe).epoch(1)
    assert sorted(visits) == [(index, copy) for index in range(28) for copy in range(10)]


def test_fresh_copies_differ_from_epoch_to_epoch(tiny_cases):
    slices = SliceSet(tiny_cases["train"], change(RECIPE, "augmentation", copies=2, fresh=True))
    assert {copy for _, copy in slices.epoch(3)} == {6, 7}


def test_empty_slices_are_skipped(tiny_cases):
    [case, _] = tiny_cases["train"]
    contents = case.contents.copy()
    contents[[0, 5]] = Content.NOTHING
    emptied = type(case)(case.name, case.scores, case.labels, contents)
    assert len(SliceSet([emptied], RECIPE)) == 12


def test_training_slices_have_the_same_neighbours_as_served_ones(tiny_cases):
    recipe = change(RECIPE, "network", slice_offsets=(-2, 0, 2))
    [case] = tiny_cases["validation"]
    slices = SliceSet([case], recipe)
    samples = torch.stack([slices[index, 0].slices for index in range(14)]).numpy()
    served = AxialSlices(case.volumes, reach=2, stride=1, precision=torch.float32)
    whole = Window(slice(0, case.labels.shape[1]), slice(0, case.labels.shape[2]))
    assert np.array_equal(samples, served.take(np.arange(14), whole, (-2, 0, 2)))
    assert not samples[0, :4].any()  # there is no slice two below the first
    assert np.array_equal(samples[0, 8:], samples[2, 4:8])


def test_target_channels_are_background_and_foreground_or_the_three_regions(tiny_cases):
    labels = torch.from_numpy(tiny_cases["test"][0].labels[:, None].astype(np.float32))
    masks = region_masks(labels.numpy())
    for region in Region:
        background, foreground = truth_channels(labels, (region,)).unbind(1)
        assert np.array_equal(foreground, masks[region][:, 0])
        assert np.array_equal(background, ~masks[region][:, 0])
    assert np.array_equal(truth_channels(labels, tuple(Region)), np.concatenate(list(masks.values()), axis=1))


def test_a_recipe_can_transplant_tumours(tiny_cases):
    plain, changed = (
        SliceSet(tiny_cases["train"], change(RECIPE, "augmentation", transplant=chance)) for chance in (0, 1)
    )
    assert torch.equal(changed[0, 0].slices, changed[0, 0].slices)
    assert any(not torch.equal(plain[index, 0].labels, changed[index, 0].labels) for index in range(28))
