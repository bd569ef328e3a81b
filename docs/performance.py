"""Draw docs/performance.png: memory of the service over 100 requests, and time against the number of slices with brain.

    python docs/performance.py [CASE.zip]

Exits with status 1 if the memory of the last ten requests is more than 3 % above that of the first ten.
"""

import sys
from pathlib import Path
from statistics import mean, median
from time import perf_counter, sleep

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from service.command_line.bench.service_process import ServiceProcess, running_service
from service.imaging.phantom import BRATS_GRID, encode_phantom, make_phantom, zip_files
from service.imaging.volume import Grid

REQUESTS, COMPARED = 100, 10
MAX_GROWTH = 0.03
SECONDS_TO_SETTLE = 0.2  # a thread frees its case shortly after the answer was sent
WARM_UPS, RUNS = 3, 9
FIRST_SLICE, LAST_SLICE = 12, 144  # of the phantom's brain
TUMOUR = (70, 124)  # slices of every case of the second plot: the cascade runs on the same slices in all of them
STEP = 6


def main() -> None:
    """Measure, draw, and print the figures."""
    case = Path(sys.argv[1]).read_bytes() if sys.argv[1:] else encode_slab(FIRST_SLICE, LAST_SLICE)
    with running_service() as server:
        resident_mib = measure_memory(server, case)
    with running_service() as server:
        seconds = measure_seconds(server)
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    memory, time = figure.subplots(1, 2)
    draw_memory(memory, resident_mib)
    draw_time(time, seconds)
    figure.savefig(Path(__file__).with_name("performance.png"), dpi=100)
    growth = mean(resident_mib[-COMPARED:]) / mean(resident_mib[:COMPARED]) - 1
    print(f"resident memory: last {COMPARED} of {REQUESTS} requests {growth:+.2%} against the first {COMPARED}")
    sys.exit(growth > MAX_GROWTH)


def encode_slab(first: int, last: int) -> bytes:
    """Return the phantom's axial slices from first to last, as a zip."""
    affine = BRATS_GRID.affine.copy()
    affine[2, 3] += first
    return zip_files(encode_phantom(make_phantom(Grid((*BRATS_GRID.shape[:2], last - first + 1), affine))))


def measure_memory(server: ServiceProcess, case: bytes) -> list[float]:
    """Return the resident memory of the service in MiB after each request."""
    resident_mib = []
    for _ in range(WARM_UPS + REQUESTS):
        server.segment(case)
        sleep(SECONDS_TO_SETTLE)
        resident_mib.append(server.resident_mib())
    return resident_mib[WARM_UPS:]


def measure_seconds(server: ServiceProcess) -> dict[int, float]:
    """Return the median time of warm requests by number of slices with brain, all around the same tumour."""
    cases = {}
    first, last = TUMOUR
    while first >= FIRST_SLICE:
        cases[min(last, LAST_SLICE) - first + 1] = encode_slab(first, min(last, LAST_SLICE))
        first, last = first - STEP, last + STEP
    # In turns, because the speed of the machine varies over time.
    rounds = [{slices: time_request(server, case) for slices, case in cases.items()} for _ in range(WARM_UPS + RUNS)]
    return {slices: median(times[slices] for times in rounds[WARM_UPS:]) for slices in cases}


def time_request(server: ServiceProcess, case: bytes) -> float:
    """Return the seconds of a request."""
    started = perf_counter()
    server.segment(case)
    return perf_counter() - started


def draw_memory(axis: Axes, resident_mib: list[float]) -> None:
    """Plot memory against requests."""
    axis.plot(range(1, len(resident_mib) + 1), resident_mib, ".")
    axis.set(xlabel="request", ylabel="resident memory (MiB)", ylim=(0, 1.1 * max(resident_mib)))


def draw_time(axis: Axes, seconds: dict[int, float]) -> None:
    """Plot time against slices, with a linear fit."""
    slices = np.array(list(seconds))
    slope, offset = np.polyfit(slices, list(seconds.values()), 1)
    correlation = np.corrcoef(slices, list(seconds.values()))[0, 1]
    axis.plot(slices, list(seconds.values()), "o")
    axis.plot(slices, slope * slices + offset, label=f"{1000 * slope:.1f} ms a slice, r² = {correlation**2:.3f}")
    axis.set(xlabel="axial slices with brain", ylabel="seconds from request to answer")
    axis.set(xlim=(0, 1.1 * max(seconds)), ylim=(0, 1.1 * max(seconds.values())))
    axis.legend()
    print(f"time: {offset:.2f} s and {1000 * slope:.1f} ms a slice with brain, r² = {correlation**2:.3f}")


if __name__ == "__main__":
    main()
