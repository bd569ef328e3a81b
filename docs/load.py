"""Flood a server, and write what came of it into docs/load.md and docs/load.png.

    python docs/load.py [CASE.zip]

Everything stays on the loopback address; it takes about five minutes. Fails where a limit that docs/load.md states is
broken.
"""

import asyncio
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter, sleep

import httpx2
import numpy as np
import torch
from matplotlib.figure import Figure

from service.bench.server import Server, running_server
from service.device import describe_machine, usable_cpus
from service.phantom import encode_phantom, make_phantom, zip_files
from service.settings import Settings

FLOODS = (1, 2, 10, 50)  # times capacity
SECONDS_A_FLOOD = 40
CLOSED_LOOPS = (1, 2, 4)  # clients
CLIENTS = 50  # at once, in the flood whose clients come again
WARM_UPS, CASES_TIMED = 2, 12
SECONDS_BETWEEN_PROBES = 0.05
SECONDS_TO_ANSWER = 600
MOST_MEMORY = 1.15  # times the peak with one client
MOST_LIVEZ_MS = 100  # 99th percentile
ZIP = {"Content-Type": "application/zip", "Accept": "application/zip"}


@dataclass(frozen=True)
class Rate:
    """What a server does for clients that each wait for their answer."""

    clients: int
    cases_a_second: float
    cpus_busy: float  # by the server


@dataclass(frozen=True)
class Flood:
    """What a server did under one offered load."""

    title: str
    offered: int  # requests
    statuses: Counter[int]
    served_s: list[float]  # from the moment that a request was due to the last byte of its answer
    livez_s: list[float]
    peak_mib: float


def main() -> None:
    """Measure, write the page and the plot, and say which limits held."""
    case = Path(sys.argv[1]).read_bytes() if sys.argv[1:] else zip_files(encode_phantom(make_phantom()))
    with running_server() as server:
        rates = [measure_rate(server, case, clients) for clients in CLOSED_LOOPS]
        server.restart_peak()
        measure_rate(server, case, clients=1)
        alone_mib = server.peak_resident_mib()
        floods = [flood(server, case, times, max(rate.cases_a_second for rate in rates)) for times in FLOODS]
        floods.append(flood_that_comes_again(server, case))
    with running_server(GLIOSERVE_THREADS="1") as server:
        one_thread = [measure_rate(server, case, clients) for clients in CLOSED_LOOPS]
    limits = check(floods, alone_mib)
    page = render(floods, alone_mib, (rates, one_thread), limits)
    Path(__file__).with_name("load.md").write_text(page)
    draw(floods[: len(FLOODS)])
    print(page)
    sys.exit(not all(limits.values()))


def measure_rate(server: Server, case: bytes, clients: int) -> Rate:
    """What a server does for so many clients, each sending its next case once it has an answer."""
    for _ in range(WARM_UPS):
        server.segment(case)
    started, started_cpu_s = perf_counter(), server.cpu_s()
    with ThreadPoolExecutor(clients) as threads:
        list(threads.map(server.segment, [case] * CASES_TIMED))
    seconds = perf_counter() - started
    return Rate(clients, CASES_TIMED / seconds, (server.cpu_s() - started_cpu_s) / seconds)


def flood(server: Server, case: bytes, times: int, capacity: float) -> Flood:
    """Requests at a steady rate, whatever becomes of them."""
    due_s = np.arange(0, SECONDS_A_FLOOD, 1 / (times * capacity)).tolist()

    async def send_all() -> list[tuple[int, float]]:
        limits = httpx2.Limits(max_connections=None)
        async with httpx2.AsyncClient(base_url=server.address, timeout=SECONDS_TO_ANSWER, limits=limits) as client:
            started = perf_counter()

            async def send(due: float) -> tuple[int, float]:
                await asyncio.sleep(due - (perf_counter() - started))
                response = await client.post("/segment", content=case, headers=ZIP)
                return response.status_code, perf_counter() - started - due

            return await asyncio.gather(*map(send, due_s))

    return observed(server, f"{times} times capacity", lambda: asyncio.run(send_all()))


def flood_that_comes_again(server: Server, case: bytes) -> Flood:
    """Many clients at once, each of which comes again when it is told, until it is served."""

    def send(_: int) -> list[tuple[int, float]]:
        answers: list[tuple[int, float]] = []
        started = perf_counter()
        with httpx2.Client(base_url=server.address, timeout=SECONDS_TO_ANSWER) as client:
            while not answers or answers[-1][0] == httpx2.codes.TOO_MANY_REQUESTS:
                response = client.post("/segment", content=case, headers=ZIP)
                answers.append((response.status_code, perf_counter() - started))
                if response.status_code == httpx2.codes.TOO_MANY_REQUESTS:
                    sleep(int(response.headers["Retry-After"]))
        return answers

    def send_all() -> list[tuple[int, float]]:
        with ThreadPoolExecutor(CLIENTS) as threads:
            return [answer for answers in threads.map(send, range(CLIENTS)) for answer in answers]

    return observed(server, f"{CLIENTS} at once, who come again", send_all)


def observed(server: Server, title: str, send_all: Callable[[], list[tuple[int, float]]]) -> Flood:
    """Send, and watch memory and /livez meanwhile, the latter from a process that does nothing else."""
    server.restart_peak()
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as other:
        livez_s = other.submit(probe, server.address, SECONDS_A_FLOOD)
        answers = send_all()
        served_s = [seconds for status, seconds in answers if status == httpx2.codes.OK]
        statuses = Counter(status for status, _ in answers)
        return Flood(title, len(answers), statuses, served_s, livez_s.result(), server.peak_resident_mib())


def probe(address: str, seconds: float) -> list[float]:
    """Seconds that /livez took to answer, again and again."""
    answered_s = []
    with httpx2.Client(base_url=address, timeout=SECONDS_TO_ANSWER) as client:
        end = perf_counter() + seconds
        while perf_counter() < end:
            started = perf_counter()
            client.get("/livez").raise_for_status()
            answered_s.append(perf_counter() - started)
            sleep(SECONDS_BETWEEN_PROBES)
    return answered_s


def check(floods: list[Flood], alone_mib: float) -> dict[str, bool]:
    """Whether each limit held."""
    *_, last = floods
    statuses = {status for flood in floods for status in flood.statuses}
    return {
        "every answer is 200 or 429": statuses <= {httpx2.codes.OK, httpx2.codes.TOO_MANY_REQUESTS},
        f"each of {CLIENTS} clients that come again is served": last.statuses[httpx2.codes.OK] == CLIENTS,
        f"peak memory within {MOST_MEMORY - 1:.0%} of one client's": max(f.peak_mib for f in floods)
        <= MOST_MEMORY * alone_mib,
        f"99 % of the answers of /livez within {MOST_LIVEZ_MS} ms": all(
            np.percentile(flood.livez_s, 99) * 1000 < MOST_LIVEZ_MS for flood in floods
        ),
    }


def render(floods: list[Flood], alone_mib: float, rates: tuple[list[Rate], ...], limits: dict[str, bool]) -> str:
    """The page."""
    all_threads, one_thread = rates
    rate_rows = "\n".join(
        [rate_row(rate, all_threads[0], "as many as CPUs") for rate in all_threads]
        + [rate_row(rate, one_thread[0], "1") for rate in one_thread]
    )
    bound = usable_cpus() / all_threads[0].cpus_busy
    rows = "\n".join(row(flood, alone_mib) for flood in floods)
    held = "\n".join(f"- {limit}: {'held' if holds else '**broken**'}" for limit, holds in limits.items())
    return f"""# Under load

Written by `make load` on {datetime.now(UTC).date()}: {describe_machine(torch.device("cpu"))}.
The clients, in a process of their own, share these CPUs. {Settings().max_waiting} cases may wait.

Over {CASES_TIMED} cases, each client sending its next case once it has an answer:

| threads of the networks | clients | cases a second | of one client's | CPUs that the server keeps busy |
|---|---|---|---|---|
{rate_rows}

More clients can bring what one leaves idle, for while the networks run on one case the next is received and decoded:
with all threads at most {bound:.2f} times as much on these CPUs.

Capacity is the best rate with all threads. A flood offers a multiple of it for {SECONDS_A_FLOOD} seconds, whatever is
answered. In the last one {CLIENTS} clients send at once, and come again when `Retry-After` tells them. Times are those
of answers 200, from the moment that the request was due to the last byte of its answer.

| offered | requests | 200 | 429 | others | p50 | p95 | p99 | /livez p99 | peak memory | of one client's |
|---|---|---|---|---|---|---|---|---|---|---|
{rows}

One client alone: {alone_mib:.0f} MiB.

{held}

![Time to an answer, and share refused, against offered load](load.png)
"""


def rate_row(rate: Rate, of: Rate, threads: str) -> str:
    """One closed loop as a row of the table."""
    return (
        f"| {threads} | {rate.clients} | {rate.cases_a_second:.2f} | {rate.cases_a_second / of.cases_a_second:.2f} "
        f"| {rate.cpus_busy:.2f} |"
    )


def row(flood: Flood, alone_mib: float) -> str:
    """One flood as a row of the table."""
    served, refused = flood.statuses[httpx2.codes.OK], flood.statuses[httpx2.codes.TOO_MANY_REQUESTS]
    p50, p95, p99 = np.percentile(flood.served_s, [50, 95, 99])
    return (
        f"| {flood.title} | {flood.offered} | {served} | {refused} | {flood.offered - served - refused} "
        f"| {p50:.1f} s | {p95:.1f} s | {p99:.1f} s | {1000 * np.percentile(flood.livez_s, 99):.0f} ms "
        f"| {flood.peak_mib:.0f} MiB | {flood.peak_mib / alone_mib:.2f} |"
    )


def draw(floods: list[Flood]) -> None:
    """Time to an answer, and the share that was refused, against offered load."""
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    times, refusals = figure.subplots(1, 2)
    for percentile in (50, 95, 99):
        seconds = [np.percentile(flood.served_s, percentile) for flood in floods]
        times.plot(FLOODS, seconds, "o-", label=f"{percentile}th percentile")
    times.set(xscale="log", ylabel="seconds to an answer", ylim=(0, None))
    times.legend()
    refused = [flood.statuses[httpx2.codes.TOO_MANY_REQUESTS] / flood.offered for flood in floods]
    refusals.plot(FLOODS, refused, "o-")
    refusals.set(xscale="log", ylabel="share answered 429", ylim=(0, 1))
    for axes in (times, refusals):
        axes.set(xlabel="offered load, times capacity", xticks=FLOODS, xticklabels=FLOODS)
        axes.minorticks_off()
    figure.savefig(Path(__file__).with_name("load.png"), dpi=100)


if __name__ == "__main__":
    main()
