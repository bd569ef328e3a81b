"""Measuring one case end to end and by stage, in one run, so that its figures are comparable."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import torch

from service.command_line.bench.paper_size import time_paper_size
from service.command_line.bench.peak_rate import matrix_gflop_s, network_gflop
from service.command_line.bench.service_process import ServiceProcess, running_service
from service.imaging.normalise import normalise
from service.imaging.reading import read_case_from
from service.intake.archive import open_zip
from service.machine.device import choose_device, describe_machine, usable_cpus
from service.machine.device_memory import predict_peak_mib
from service.networks.checkpoints import load_model
from service.networks.model import DEFAULT_BATCH_SIZE
from service.networks.precision import precision_name
from service.settings import Settings

WARM_UPS, RUNS = 2, 10
CLIENTS = (1, 2, 4)
CASES_SENT = 8  # by all clients together
RATED_PRECISIONS = (torch.float32, torch.bfloat16, torch.int8)
PREDICTED_PRECISIONS = (torch.float32, torch.float16)
PREDICTED_BATCHES = (5, 10, 20)


@dataclass(frozen=True)
class Measurement:
    """What a case costs; the names give the units."""

    date: str
    machine: str
    threads: int
    torch: str
    computation: Mapping[str, Any]  # as in the report: device, precision, slices run by network
    shape: tuple[int, int, int]
    end_to_end_s: float  # median of warm requests, from the first byte sent to the last byte received
    end_to_end_p95_s: float
    stages_ms: Mapping[str, float]  # medians of the same requests
    paper_size_s: float  # three networks of the paper's size on every slice, in float32
    paper_size_slices_timed: int
    ratio: float  # paper_size_s / end_to_end_s
    peak_rss_mib: float  # of the service, with one client
    peak_rss_most_clients_mib: float
    cases_an_hour: Mapping[int, float]  # by number of clients
    device_peak_mib: float  # measured on a GPU; on a CPU, predicted for a GPU in float16
    predicted_device_mib: Mapping[str, Mapping[int, float]]  # by precision and batch size
    networks_gflop: float  # 10^9 floating-point operations of the networks on this case
    networks_gflop_s: float
    matrix_gflop_s: Mapping[str, float]  # of a large matrix product, by precision


def measure(case: bytes, settings: Settings) -> Measurement:
    """Measure a zipped case. Raises BenchError if the service rejects it or does not start."""
    device = choose_device(settings.device)
    torch.set_num_threads(settings.threads or usable_cpus())
    measured = _measure_service(case)
    model = load_model(settings.weights, torch.device("cpu"))
    with open_zip(BytesIO(case), settings.max_unpacked_mib) as files:
        normalised = normalise(read_case_from(files).images)
    gflop = network_gflop(model, normalised)
    network_s = sum(ms for stage, ms in measured["stages_ms"].items() if stage.startswith("predict")) / 1000
    predicted_mib = {
        precision_name(precision): {batch: predict_peak_mib(model, precision, batch) for batch in PREDICTED_BATCHES}
        for precision in PREDICTED_PRECISIONS
    }
    width, height, depth = normalised.brain.grid.shape
    paper_size = time_paper_size((height, width), depth, device)
    return Measurement(
        **measured,
        date=datetime.now(UTC).date().isoformat(),
        machine=describe_machine(device),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        paper_size_s=paper_size.seconds,
        paper_size_slices_timed=paper_size.slices_timed,
        ratio=paper_size.seconds / measured["end_to_end_s"],
        device_peak_mib=measured["computation"]["device_peak_mib"] or predicted_mib["float16"][DEFAULT_BATCH_SIZE],
        predicted_device_mib=predicted_mib,
        networks_gflop=gflop,
        networks_gflop_s=gflop / network_s,
        matrix_gflop_s={precision_name(precision): matrix_gflop_s(precision, device) for precision in RATED_PRECISIONS},
    )


def _measure_service(case: bytes) -> dict[str, Any]:
    """The fields of a Measurement that are measured over HTTP."""
    with running_service() as service:
        seconds, reports = _time_requests(service, case)
        peak_rss_mib = service.peak_resident_mib()
        cases_an_hour = {clients: _cases_an_hour(service, case, clients) for clients in CLIENTS}
        peak_rss_most_clients_mib = service.peak_resident_mib()
    stages = reports[-1]["timings_ms"]
    return {
        "computation": reports[-1]["computation"],
        "shape": tuple(reports[-1]["input"]["shape"]),
        "end_to_end_s": median(seconds),
        "end_to_end_p95_s": float(np.percentile(seconds, 95)),
        "stages_ms": {stage: median(report["timings_ms"][stage] for report in reports) for stage in stages},
        "peak_rss_mib": peak_rss_mib,
        "peak_rss_most_clients_mib": peak_rss_most_clients_mib,
        "cases_an_hour": cases_an_hour,
    }


def _time_requests(service: ServiceProcess, case: bytes) -> tuple[list[float], list[dict[str, Any]]]:
    """Seconds and report of each warm request."""
    seconds, reports = [], []
    for _ in range(WARM_UPS + RUNS):
        started = perf_counter()
        reports.append(service.segment(case))
        seconds.append(perf_counter() - started)
    return seconds[WARM_UPS:], reports[WARM_UPS:]


def _cases_an_hour(service: ServiceProcess, case: bytes, clients: int) -> float:
    started = perf_counter()
    with ThreadPoolExecutor(clients) as threads:
        list(threads.map(service.segment, [case] * CASES_SENT))
    return 3600 * CASES_SENT / (perf_counter() - started)
