"""Networks in eight-bit integers: made by the training, run by the service."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from support.known_networks import make_card, random_networks, save_model

from service.segmentation.errors import WeightsError
from service.segmentation.labels import Region
from service.segmentation.measure import dice
from service.segmentation.model import Checkpoint, Model
from service.segmentation.network import fastest_precision
from service.segmentation.normalise import normalise
from service.segmentation.predict import predict_masks
from service.segmentation.quantised import load_openvino
from service.segmentation.weights import load_model
from service.settings import DEFAULT_WEIGHTS

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def unquantised():
    """A model of random networks."""
    networks = zip(random_networks(), Region, strict=True)
    return Model(tuple(Checkpoint(network, make_card(region, width=4, depth=2)) for network, region in networks), CPU)


@pytest.fixture
def folder(unquantised, tmp_path):
    return save_model(tmp_path / "weights", unquantised)


@pytest.fixture(scope="module")
def quantised_folder(unquantised, tiny_cache, tmp_path_factory):
    """Its weights, quantised as a user does it."""
    weights = save_model(tmp_path_factory.mktemp("quantised"), unquantised)
    command = [sys.executable, "-m", "model_training", "quantise", "--weights", weights, "--cache", tiny_cache]
    subprocess.run(command, check=True, capture_output=True)
    return weights


@pytest.fixture(scope="module")
def scores(phantom):
    return normalise(phantom).scores


@pytest.fixture(scope="module")
def bundled():
    return load_model(DEFAULT_WEIGHTS, CPU).optimised(torch.int8)


def test_a_quantised_network_answers_nearly_as_its_floats(quantised_folder, tiny_cases):
    slices = torch.from_numpy(tiny_cases["train"][0].scores[..., :96, :96].astype(np.float32))
    model = load_model(quantised_folder, CPU)
    for floats, integers in zip(model.checkpoints, model.optimised(torch.int8).checkpoints, strict=True):
        with torch.no_grad():
            expected, found = floats.network(slices), integers.network(slices)
        assert found.shape == expected.shape
        assert (found - expected).abs().mean() < 0.1 * expected.std()


def test_the_bundled_networks_find_the_same_tumour_in_integers(bundled, scores):
    in_floats = predict_masks(load_model(DEFAULT_WEIGHTS, CPU).optimised(torch.float32), scores).masks
    in_integers = predict_masks(bundled, scores).masks
    assert in_floats[Region.WT].any()
    for region in (Region.WT, Region.TC):
        assert dice(in_integers[region], in_floats[region]) > 0.97


def test_integers_give_the_same_masks_bit_by_bit_in_every_run_and_slice_batch(bundled, scores):
    expected = predict_masks(bundled, scores).masks
    for slice_batch in (1, 3, 10):
        batched = Model(bundled.checkpoints, CPU, torch.int8, slice_batch)
        for region, mask in predict_masks(batched, scores).masks.items():
            assert np.array_equal(mask, expected[region])


def test_the_hash_of_the_model_changes_with_quantisation(quantised_folder, folder):
    assert load_model(quantised_folder, CPU).sha256 != load_model(folder, CPU).sha256


def test_a_changed_byte_of_quantised_weights_is_refused(quantised_folder, tmp_path):
    weights = copy_of(quantised_folder, tmp_path)
    data = bytearray((weights / "tc.int8.bin").read_bytes())
    data[-1] ^= 1
    (weights / "tc.int8.bin").write_bytes(data)
    with pytest.raises(WeightsError, match="tc: expected quantised weights of SHA-256"):
        load_model(weights, CPU)


def test_missing_quantised_weights_are_refused_by_name_with_the_remedy(quantised_folder, tmp_path):
    weights = copy_of(quantised_folder, tmp_path)
    (weights / "wt.int8.xml").unlink()
    with pytest.raises(WeightsError, match=r"expected wt.int8.xml and wt.int8.bin, .* found one missing; .* anew"):
        load_model(weights, CPU)
    assert load_model(weights, CPU, quantised=False).optimised(torch.float32).precision == torch.float32


def test_missing_quantised_weights_are_made_anew(quantised_folder, tiny_cache, tmp_path):
    weights = copy_of(quantised_folder, tmp_path)
    (weights / "wt.int8.xml").unlink()
    command = [sys.executable, "-m", "model_training", "quantise", "--weights", weights, "--cache", tiny_cache]
    subprocess.run(command, check=True, capture_output=True)
    assert load_model(weights, CPU).checkpoints[0].quantised


def copy_of(folder, target):
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def test_integers_are_refused_where_there_are_none_and_on_a_card(folder, quantised_folder):
    with pytest.raises(WeightsError, match="wt: expected weights quantised to int8, found none"):
        load_model(folder, CPU).optimised(torch.int8)
    with pytest.raises(WeightsError, match="int8: expected a CPU, found meta"):
        load_model(quantised_folder, torch.device("meta")).optimised(torch.int8)


@pytest.mark.parametrize(
    ("capabilities", "quantised", "expected"),
    [
        ({"avx512_vnni": True}, True, torch.int8),
        ({"avx_vnni": True}, True, torch.int8),
        ({"avx512_vnni": True}, False, torch.float32),
        ({"avx512_vnni": True, "avx512_bf16": True}, True, torch.bfloat16),
        ({"avx2": True}, True, torch.float32),
    ],
)
def test_the_precision_follows_the_cpu(capabilities, quantised, expected, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert fastest_precision(CPU, quantised=quantised) == expected


def test_openvino_has_nothing_to_call_home_with():
    load_openvino()
    from openvino.tools.ovc import telemetry_utils

    assert telemetry_utils.tm.__name__ == "openvino.tools.ovc.telemetry_stub"
    assert sys.modules["openvino_telemetry"] is None
