"""`glioserve bench` and the predicted device memory."""

import json

import pytest
import torch
from support.command_line import run_glioserve
from support.known_networks import make_card

from service.imaging.labels import Region
from service.machine.device_memory import predict_peak_mib
from service.networks.model import Checkpoint, Model
from service.networks.unet import UNet

CPU = torch.device("cpu")


def bench(weights, *arguments):
    return run_glioserve("bench", *arguments, weights=weights, device="cpu", timeout_s=None)  # minutes of measuring


def test_a_benchmark_prints_a_table_and_writes_json(weights, phantom_zip, tmp_path):
    case, out = tmp_path / "case.zip", tmp_path / "bench.json"
    case.write_bytes(phantom_zip)
    result = bench(weights, case, "--json", out)
    assert result.returncode == 0, result.stderr
    measured = json.loads(out.read_text())
    assert measured["shape"] == [150, 180, 50]
    computation = measured["computation"]
    assert computation["slices"] == computation["slices_run"]["wt"] == 50
    assert computation["slices_run"]["et"] < 50
    assert {"receive", "decode", "normalise", "predict_wt", "resample", "measure", "encode"} <= set(
        measured["stages_ms"]
    )
    assert sum(measured["stages_ms"].values()) / 1000 < measured["end_to_end_p95_s"]
    assert measured["ratio"] == measured["paper_size_s"] / measured["end_to_end_s"] > 10
    assert 100 < measured["peak_rss_mib"] <= measured["peak_rss_most_clients_mib"]
    assert measured["device_peak_mib"] == measured["predicted_device_mib"]["float16"]["10"]
    assert set(measured["cases_an_hour"]) == {"1", "2", "4"}
    assert f"{measured['end_to_end_s']:7.2f} s, median of 10 warm requests" in result.stdout


def test_a_rejected_case_is_one_line_of_error(weights, tmp_path):
    case = tmp_path / "case.zip"
    case.write_bytes(b"no zip")
    result = bench(weights, case)
    assert result.returncode == 1
    assert result.stderr == "Archive: expected a whole zip, found damage or another format.\n"


def test_unusable_files_are_reported_before_anything_is_measured(weights, tmp_path):
    missing, nowhere = tmp_path / "missing.zip", tmp_path / "none" / "bench.json"
    without_case = bench(weights, missing)
    assert without_case.stderr == f"{missing}: No such file or directory\n"
    unwritable = [bench(weights, "--json", path) for path in (nowhere, tmp_path)]
    for result in unwritable:
        assert result.stderr.startswith("--json: expected a file in an existing folder")
    for result in (without_case, *unwritable):
        assert (result.returncode, result.stdout) == (1, "")


def paper_networks(width):
    return Model(
        tuple(Checkpoint(UNet(2, width).eval(), make_card(region, width=width, depth=4)) for region in Region), CPU
    )


def test_the_predicted_peak_memory_scales_with_batch_and_precision():
    model = paper_networks(16)
    peaks = {batch: predict_peak_mib(model, torch.float16, batch) for batch in (5, 10, 20)}
    assert peaks[10] == pytest.approx(128, rel=0.02)
    assert peaks[20] - peaks[10] == pytest.approx(2 * (peaks[10] - peaks[5]))
    assert predict_peak_mib(model, torch.float32, 10) == pytest.approx(2 * peaks[10], rel=0.01)


def test_the_networks_of_the_paper_are_predicted_to_fit_its_gpu():
    assert predict_peak_mib(paper_networks(64), torch.float32, 5) == pytest.approx(808, rel=0.02)
