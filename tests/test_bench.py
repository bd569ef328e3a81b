"""`glioserve bench`, and what it computes."""

from support.known_networks import make_card
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from service.bench.device_memory import predict_peak_mib
from service.segmentation.labels import Region
from service.segmentation.model import Checkpoint, Model
from service.segmentation.network import UNet

GLIOSERVE = Path(sys.executable).with_name("glioserve")
CPU = torch.device("cpu")


def bench(weights, *arguments):
    environment = os.environ | {"GLIOSERVE_WEIGHTS": str(weights), "GLIOSERVE_DEVICE": "cpu"}
    return subprocess.run(
        [GLIOSERVE, "bench", *arguments], env=environment, capture_output=True, text=True, check=False
    )


def test_a_benchmark_prints_a_table_and_writes_json(weights, phantom_zip, tmp_path):
    case, out = tmp_path / "case.zip", tmp_path / "bench.json"
    case.write_bytes(phantom_zip)
    ended = bench(weights, case, "--json", out)
    assert ended.returncode == 0, ended.stderr
    measured = json.loads(out.read_text())
    assert measured["shape"] == [150, 180, 50]
    computation = measured["computation"]
    assert computation["slices"] == computation["slices_run"]["wt"] == 50
    assert computation["slices_run"]["et"] < 50
    assert {"receive", "decode", "normalise", "predict_wt", "fuse", "measure", "encode"} <= set(measured["stages_ms"])
    assert sum(measured["stages_ms"].values()) / 1000 < measured["end_to_end_p95_s"]
    assert measured["ratio"] == measured["paper_size_s"] / measured["end_to_end_s"] > 10
    assert 100 < measured["peak_rss_mib"] <= measured["peak_rss_most_clients_mib"]
    assert measured["device_peak_mib"] == measured["predicted_device_mib"]["float16"]["10"]
    assert set(measured["cases_an_hour"]) == {"1", "2", "4"}
    assert f"{measured['end_to_end_s']:7.2f} s, median of 10 warm requests" in ended.stdout


def test_a_rejected_case_is_one_line_of_error(weights, tmp_path):
    case = tmp_path / "case.zip"
    case.write_bytes(b"no zip")
    ended = bench(weights, case)
    assert ended.returncode == 1
    assert ended.stderr == "Archive: expected a whole zip, found damage or another file.\n"


def test_unusable_files_are_reported_before_anything_is_measured(weights, tmp_path):
    missing, nowhere = tmp_path / "missing.zip", tmp_path / "none" / "bench.json"
    assert bench(weights, missing).stderr == f"{missing}: No such file or directory\n"
    for place in (nowhere, tmp_path):
        assert bench(weights, "--json", place).stderr.startswith("--json: expected a file in a folder that exists")


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
