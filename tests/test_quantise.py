"""INT8 networks: quantised by model_training, run by the service."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from support.known_networks import make_card, random_networks, save_model

from service.imaging.labels import Region
from service.imaging.normalise import normalise
from service.networks.checkpoints import load_model
from service.networks.errors import WeightsError
from service.networks.int8 import has_fast_int8, load_openvino
from service.networks.model import Checkpoint, Model
from service.networks.precision import fastest_precision
from service.segmentation.measure import dice
from service.segmentation.predict import predict_masks
from service.settings import DEFAULT_WEIGHTS

CPU = torch.device("cpu")
# Without these instructions sums of INT8 products saturate at 16 bits; the service does not choose INT8 then.
needs_vnni = pytest.mark.skipif(
    not has_fast_int8(getattr(torch.cpu, "get_capabilities", dict)()), reason="a CPU without VNNI"
)


@pytest.fixture(scope="module")
def unquantised():
    """Model with random networks, without INT8 versions."""
    networks = zip(random_networks(), Region, strict=True)
    return Model(tuple(Checkpoint(network, make_card(region, width=4, depth=2)) for network, region in networks), CPU)


@pytest.fixture
def float_folder(unquantised, tmp_path):
    """Weights of that model, without INT8 versions."""
    return save_model(tmp_path / "weights", unquantised)


@pytest.fixture(scope="module")
def quantised_folder(unquantised, tiny_cache, tmp_path_factory):
    """Weights of that model, quantised with the subcommand."""
    weights = save_model(tmp_path_factory.mktemp("quantised"), unquantised)
    command = [sys.executable, "-m", "model_training", "quantise", "--weights", weights, "--cache", tiny_cache]
    subprocess.run(command, check=True, capture_output=True)
    return weights


@pytest.fixture(scope="module")
def intensities(phantom):
    return normalise(phantom).intensities


@pytest.fixture(scope="module")
def bundled():
    """The bundled model as INT8."""
    return load_model(DEFAULT_WEIGHTS, CPU).optimised(torch.int8)


@needs_vnni
def test_the_output_of_an_int8_network_is_close_to_that_of_the_float_network(quantised_folder, tiny_cases):
    slices = torch.from_numpy(tiny_cases["train"][0].intensities[..., :96, :96].astype(np.float32))
    model = load_model(quantised_folder, CPU)
    for in_float, in_int8 in zip(model.checkpoints, model.optimised(torch.int8).checkpoints, strict=True):
        with torch.no_grad():
            expected, found = in_float.network(slices), in_int8.network(slices)
        assert found.shape == expected.shape
        assert (found - expected).abs().mean() < 0.1 * expected.std()


def test_the_bundled_networks_find_the_same_tumour_in_int8(bundled, intensities):
    in_float = predict_masks(load_model(DEFAULT_WEIGHTS, CPU).optimised(torch.float32), intensities).masks
    in_int8 = predict_masks(bundled, intensities).masks
    for region in (Region.WT, Region.TC):
        assert in_float[region].any()
        assert dice(in_int8[region], in_float[region]) > 0.97


def test_int8_masks_do_not_depend_on_the_slice_batch(bundled, intensities):
    expected = predict_masks(bundled, intensities).masks
    for batch_size in (1, 3, 10):
        batched = Model(bundled.checkpoints, CPU, torch.int8, batch_size)
        for region, mask in predict_masks(batched, intensities).masks.items():
            assert np.array_equal(mask, expected[region])


def test_quantisation_changes_the_hash_of_the_model(quantised_folder, float_folder):
    assert load_model(quantised_folder, CPU).sha256 != load_model(float_folder, CPU).sha256


def test_damaged_int8_weights_are_rejected(quantised_folder, tmp_path):
    weights = copy_folder(quantised_folder, tmp_path)
    data = bytearray((weights / "tc.int8.bin").read_bytes())
    data[-1] ^= 1
    (weights / "tc.int8.bin").write_bytes(data)
    with pytest.raises(WeightsError, match="tc: expected INT8 weights of SHA-256"):
        load_model(weights, CPU)


def test_missing_int8_weights_are_rejected_with_their_names_and_a_remedy(quantised_folder, tmp_path):
    weights = copy_folder(quantised_folder, tmp_path)
    (weights / "wt.int8.xml").unlink()
    with pytest.raises(WeightsError, match=r"expected wt.int8.xml and wt.int8.bin, .* found one missing. .* again"):
        load_model(weights, CPU)
    assert load_model(weights, CPU, with_int8=False).optimised(torch.float32).precision == torch.float32


def test_quantise_restores_missing_int8_weights(quantised_folder, tiny_cache, tmp_path):
    weights = copy_folder(quantised_folder, tmp_path)
    (weights / "wt.int8.xml").unlink()
    command = [sys.executable, "-m", "model_training", "quantise", "--weights", weights, "--cache", tiny_cache]
    subprocess.run(command, check=True, capture_output=True)
    assert load_model(weights, CPU).checkpoints[0].int8


def copy_folder(folder, target):
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def test_int8_requires_int8_weights_and_a_cpu(float_folder, quantised_folder):
    with pytest.raises(WeightsError, match="wt: expected weights quantised to int8, found none"):
        load_model(float_folder, CPU).optimised(torch.int8)
    with pytest.raises(WeightsError, match="int8: expected a CPU, found meta"):
        load_model(quantised_folder, torch.device("meta")).optimised(torch.int8)


@pytest.mark.parametrize(
    ("capabilities", "has_int8", "expected"),
    [
        ({"avx512_vnni": True}, True, torch.int8),
        ({"avx_vnni": True}, True, torch.int8),
        ({"avx512_vnni": True}, False, torch.float32),
        ({"avx512_vnni": True, "avx512_bf16": True}, True, torch.bfloat16),
        ({"avx2": True}, True, torch.float32),
    ],
)
def test_the_fastest_precision_depends_on_the_instructions_of_the_cpu(capabilities, has_int8, expected, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert fastest_precision(CPU, has_int8=has_int8) == expected


def test_the_telemetry_of_openvino_is_disabled():
    load_openvino()
    from openvino.tools.ovc import telemetry_utils

    assert telemetry_utils.tm.__name__ == "openvino.tools.ovc.telemetry_stub"
    assert sys.modules["openvino_telemetry"] is None
