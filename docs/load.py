"""Run the load test and write docs/load.md and docs/load.png.

    python docs/load.py [CASE.zip]

Everything stays on the loopback address. The test takes about five minutes. Exits with status 1 if a limit that
docs/load.md states is exceeded.
"""

import asyncio
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter, sleep

import httpx2
import numpy as np
from load_report import (
    CASES_TIMED,
    MULTIPLES,
    OVERLOAD_SECONDS,
    RETRYING_CLIENTS,
    LoadTest,
    Overload,
    Throughput,
    check_limits,
    draw,
    render,
)

from service.command_line.bench.service_process import ServiceProcess, running_service
from service.imaging.phantom import encode_phantom, make_phantom, zip_files

CLIENTS = (1, 2, 4)
WARM_UPS = 2
SECONDS_BETWEEN_PROBES = 0.05
TIMEOUT_S = 600
ZIP = {"Content-Type": "application/zip", "Accept": "application/zip"}

Answer = tuple[int, float]  # status, and seconds from the moment at which the request was due


def main() -> None:
    """Measure, write the page and the plot, and report which limits were kept."""
    case = Path(sys.argv[1]).read_bytes() if sys.argv[1:] else zip_files(encode_phantom(make_phantom()))
    test = run_load_test(case)
    page = render(test)
    Path(__file__).with_name("load.md").write_text(page)
    draw(test)
    print(page)
    sys.exit(not all(check_limits(test).values()))


def run_load_test(case: bytes) -> LoadTest:
    """Measure the throughput, then overload the service."""
    with running_service() as server:
        all_threads = [measure_throughput(server, case, clients) for clients in CLIENTS]
        server.restart_peak()
        measure_throughput(server, case, clients=1)
        one_client_mib = server.peak_resident_mib()
        capacity = max(throughput.cases_per_second for throughput in all_threads)
        overloads = [send_at_rate(server, case, multiple, capacity) for multiple in MULTIPLES]
        overloads.append(send_with_retries(server, case))
    with running_service(GLIOSERVE_THREADS="1") as server:
        one_thread = [measure_throughput(server, case, clients) for clients in CLIENTS]
    return LoadTest(all_threads, one_thread, overloads, one_client_mib)


def measure_throughput(server: ServiceProcess, case: bytes, clients: int) -> Throughput:
    """Measure the throughput with several clients, each sending its next case when it has received a response."""
    for _ in range(WARM_UPS):
        server.segment(case)
    started, started_cpu_s = perf_counter(), server.cpu_s()
    with ThreadPoolExecutor(clients) as threads:
        list(threads.map(server.segment, [case] * CASES_TIMED))
    seconds = perf_counter() - started
    return Throughput(clients, CASES_TIMED / seconds, (server.cpu_s() - started_cpu_s) / seconds)


def send_at_rate(server: ServiceProcess, case: bytes, multiple: int, capacity: float) -> Overload:
    """Send requests at a constant multiple of the capacity, without waiting for responses."""
    due_s = np.arange(0, OVERLOAD_SECONDS, 1 / (multiple * capacity)).tolist()

    async def send_all() -> list[Answer]:
        limits = httpx2.Limits(max_connections=None)
        async with httpx2.AsyncClient(base_url=server.address, timeout=TIMEOUT_S, limits=limits) as client:
            started = perf_counter()

            async def send(due: float) -> Answer:
                await asyncio.sleep(due - (perf_counter() - started))
                response = await client.post("/segment", content=case, headers=ZIP)
                return response.status_code, perf_counter() - started - due

            return await asyncio.gather(*map(send, due_s))

    return observe(server, f"{multiple} times capacity", lambda: asyncio.run(send_all()))


def send_with_retries(server: ServiceProcess, case: bytes) -> Overload:
    """Send from many clients at the same time, each of which retries after `Retry-After` until it is served."""

    def send(_: int) -> list[Answer]:
        answers: list[Answer] = []
        started = perf_counter()
        with httpx2.Client(base_url=server.address, timeout=TIMEOUT_S) as client:
            while not answers or answers[-1][0] == httpx2.codes.TOO_MANY_REQUESTS:
                response = client.post("/segment", content=case, headers=ZIP)
                answers.append((response.status_code, perf_counter() - started))
                if response.status_code == httpx2.codes.TOO_MANY_REQUESTS:
                    sleep(int(response.headers["Retry-After"]))
        return answers

    def send_all() -> list[Answer]:
        with ThreadPoolExecutor(RETRYING_CLIENTS) as threads:
            return [answer for answers in threads.map(send, range(RETRYING_CLIENTS)) for answer in answers]

    return observe(server, f"{RETRYING_CLIENTS} clients with retries", send_all)


def observe(server: ServiceProcess, title: str, send_all: Callable[[], list[Answer]]) -> Overload:
    """Send requests, and measure memory and /livez meanwhile, the latter from a separate process."""
    server.restart_peak()
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as other:
        livez_s = other.submit(probe_livez, server.address, OVERLOAD_SECONDS)
        answers = send_all()
        served_s = [seconds for status, seconds in answers if status == httpx2.codes.OK]
        statuses = Counter(status for status, _ in answers)
        return Overload(title, len(answers), statuses, served_s, livez_s.result(), server.peak_resident_mib())


def probe_livez(address: str, seconds: float) -> list[float]:
    """Return the seconds that each request for /livez took, repeated for a given time."""
    answered_s = []
    with httpx2.Client(base_url=address, timeout=TIMEOUT_S) as client:
        end = perf_counter() + seconds
        while perf_counter() < end:
            started = perf_counter()
            client.get("/livez").raise_for_status()
            answered_s.append(perf_counter() - started)
            sleep(SECONDS_BETWEEN_PROBES)
    return answered_s


if __name__ == "__main__":
    main()
