import json

import pytest
import torch
from support.known_networks import make_card, save_model

from service.imaging.labels import Region
from service.networks.checkpoints import load_model, save_checkpoint
from service.networks.errors import WeightsError
from service.networks.model import Checkpoint
from service.networks.unet import UNet

CPU = torch.device("cpu")


@pytest.fixture
def folder(model, tmp_path):
    return save_model(tmp_path, model)


def change_card(folder, name, **changes):
    """Change entries of a model card."""
    path = folder / f"{name}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_saved_weights_load_unchanged(folder, model):
    loaded = load_model(folder, CPU)
    slices = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0)) * 3
    for region in Region:
        [before] = [c.network for c in model.checkpoints if c.card.regions == (region,)]
        [after] = [c.network for c in loaded.checkpoints if c.card.regions == (region,)]
        assert before(slices).unique().numel() > 2  # an answer that depends on the weights
        assert torch.equal(before(slices), after(slices))


def test_one_network_can_segment_all_three_regions(tmp_path):
    network = UNet(out_channels=3, width=2, depth=1)
    save_checkpoint(tmp_path, Checkpoint(network, make_card(*Region, width=2)))
    assert load_model(tmp_path, CPU).checkpoints[0].card.out_channels == 3


def test_the_model_hash_depends_on_the_weights(folder):
    before = load_model(folder, CPU).sha256
    save_checkpoint(folder, Checkpoint(UNet(2, width=1, depth=1), make_card(Region.ET)))
    assert load_model(folder, CPU).sha256 != before


def test_the_model_hash_depends_on_the_model_card(folder):
    before = load_model(folder, CPU).sha256
    change_card(folder, "et", min_confident_fraction={"ET": 0.5})
    model = load_model(folder, CPU)
    assert model.sha256 != before
    assert model.checkpoints[-1].card.min_confident_fraction == {"ET": 0.5}


def test_weights_with_a_changed_byte_are_rejected(folder):
    path = folder / "tc.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(WeightsError, match="tc: expected weights of SHA-256"):
        load_model(folder, CPU)


def test_missing_weights_are_rejected(folder):
    (folder / "wt.safetensors").unlink()
    with pytest.raises(WeightsError, match="wt: expected a safetensors file"):
        load_model(folder, CPU)


def test_a_missing_region_is_rejected(folder):
    (folder / "et.json").unlink()
    with pytest.raises(WeightsError, match="each of WT, TC, ET once, found TC, WT"):
        load_model(folder, CPU)


def test_an_empty_folder_is_rejected(tmp_path):
    with pytest.raises(WeightsError, match="found no model card"):
        load_model(tmp_path, CPU)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": "1"}, "wt: expected a U-Net of width 1"),
        ({"regions": ["WT", "TC"]}, "expected one region or all three, found WT, TC"),
        ({"width": 2}, "wt: expected a U-Net of width 2"),
        ({"normalisation": "min-max"}, "found 'min-max'"),
        ({"channels": ["FLAIR", "T1", "T1Gd", "T2"]}, "expected channels"),
        ({"surprise": 1}, "wt: expected a model card with name, version"),
        ({"regions": ["brain"]}, "wt: expected a model card with"),
        ({"version": "2"}, "one name and version"),
    ],
)
def test_an_invalid_model_card_is_rejected(folder, changes, message):
    change_card(folder, "wt", **changes)
    with pytest.raises(WeightsError, match=message):
        load_model(folder, CPU)


def test_a_model_card_that_is_not_json_is_rejected(folder):
    (folder / "wt.json").write_text("{")
    with pytest.raises(WeightsError, match="wt: expected a model card"):
        load_model(folder, CPU)
