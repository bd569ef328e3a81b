"""Draw docs/performance.png: memory of a server over 100 requests, and time against slices with brain.

    python docs/performance.py [CASE.zip]

Fails where the memory of the last ten requests is over 3 % above that of the first ten.
"""

import sys
from pathlib import Path
from statistics import mean, median
from time import perf_counter, sleep

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from service.bench.server import Server, running_server
from service.phantom import BRATS_GRID, encode_phantom, make_phantom, zip_files
from service.segmentation.volume import Grid

REQUESTS, COMPARED = 100, 10
MOST_GROWTH = 0.03
SECONDS_TO_SETTLE = 0.2  # a thread lets go of its case just after the answer has left
WARM_UPS, RUNS = 3, 9
FIRST_SLICE, LAST_SLICE = 12, 144  # of the phantom's brain
TUMOUR = (70, 124)  # slices that every case of the second plot has, so that the cascade runs on the same ones
STEP = 6


def main() -> None:
    """Measure, draw, and print what was drawn."""
    case = Path(sys.argv[1]).read_bytes() if sys.argv[1:] else phantom_of(FIRST_SLICE, LAST_SLICE)
    with running_server() as server:
        resident_mib = memory_over_requests(server, case)
    with running_server() as server:
        seconds = seconds_by_slices(server)
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    memory, time = figure.subplots(1, 2)
    draw_memory(memory, resident_mib)
    draw_time(time, seconds)
    figure.savefig(Path(__file__).with_name("performance.png"), dpi=100)
    growth = mean(resident_mib[-COMPARED:]) / mean(resident_mib[:COMPARED]) - 1
    print(f"resident memory: last {COMPARED} of {REQUESTS} requests {growth:+.2%} against the first {COMPARED}")
    sys.exit(growth > MOST_GROWTH)


def phantom_of(first: int, last: int) -> bytes:
    """The phantom with its axial slices from first to last, as a zip."""
    affine = BRATS_GRID.affine.copy()
    affine[2, 3] += first
    return zip_files(encode_phantom(make_phantom(Grid((*BRATS_GRID.shape[:2], last - first + 1), affine))))


def memory_over_requests(server: Server, case: bytes) -> list[float]:
    """Resident MiB of the server after each request."""
    resident_mib = []
    for _ in range(WARM_UPS + REQUESTS):
        server.segment(case)
        sleep(SECONDS_TO_SETTLE)
        resident_mib.append(server.resident_mib())
    return resident_mib[WARM_UPS:]


def seconds_by_slices(server: Server) -> dict[int, float]:
    """The median time of warm requests by number of slices with brain, all around the same tumour."""
    cases = {}
    first, last = TUMOUR
    while first >= FIRST_SLICE:
        cases[min(last, LAST_SLICE) - first + 1] = phantom_of(first, min(last, LAST_SLICE))
        first, last = first - STEP, last + STEP
    rounds = [{slices: timed(server, case) for slices, case in cases.items()} for _ in range(WARM_UPS + RUNS)]
    return {slices: median(times[slices] for times in rounds[WARM_UPS:]) for slices in cases}  # in turns: speed drifts


def timed(server: Server, case: bytes) -> float:
    """Seconds of a request."""
    started = perf_counter()
    server.segment(case)
    return perf_counter() - started


def draw_memory(axis: Axes, resident_mib: list[float]) -> None:
    """Memory by request."""
    axis.plot(range(1, len(resident_mib) + 1), resident_mib, ".")
    axis.set(xlabel="request", ylabel="resident memory (MiB)", ylim=(0, 1.1 * max(resident_mib)))


def draw_time(axis: Axes, seconds: dict[int, float]) -> None:
    """Time by slices, with the line that fits best."""
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
