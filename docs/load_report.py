"""The report on a load test: docs/load.md and docs/load.png."""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from service.machine.device import describe_machine, usable_cpus
from service.settings import Settings

CASES_TIMED = 12
MULTIPLES = (1, 2, 10, 50)  # of the capacity
OVERLOAD_SECONDS = 40
RETRYING_CLIENTS = 50
MAX_MEMORY = 1.15  # relative to the peak with one client
MAX_LIVEZ_MS = 100  # 99th percentile


@dataclass(frozen=True)
class Throughput:
    """The throughput with clients that each wait for their response."""

    clients: int
    cases_per_second: float
    cpus_used: float  # by the service


@dataclass(frozen=True)
class Overload:
    """The responses of the service under one offered load."""

    title: str
    requests: int
    statuses: Counter[int]
    served_s: list[float]  # from the moment at which a request was due to the last byte of its response
    livez_s: list[float]
    peak_mib: float


@dataclass(frozen=True)
class LoadTest:
    """All measurements of a load test."""

    all_threads: list[Throughput]
    one_thread: list[Throughput]
    overloads: list[Overload]  # one for each of MULTIPLES, and one with clients that retry
    one_client_mib: float  # peak memory


def check_limits(test: LoadTest) -> dict[str, bool]:
    """Return whether each limit was kept."""
    *_, with_retries = test.overloads
    statuses = {status for overload in test.overloads for status in overload.statuses}
    return {
        "every response is 200 or 429": statuses <= {HTTPStatus.OK, HTTPStatus.TOO_MANY_REQUESTS},
        f"each of {RETRYING_CLIENTS} clients that retry is served": with_retries.statuses[HTTPStatus.OK]
        == RETRYING_CLIENTS,
        f"peak memory within {MAX_MEMORY - 1:.0%} of the peak with one client": max(o.peak_mib for o in test.overloads)
        <= MAX_MEMORY * test.one_client_mib,
        f"99 % of the requests for /livez are answered within {MAX_LIVEZ_MS} ms": all(
            np.percentile(overload.livez_s, 99) * 1000 < MAX_LIVEZ_MS for overload in test.overloads
        ),
    }


def render(test: LoadTest) -> str:
    """Return the page."""
    return f"""# Load test

Written by `make load` on {datetime.now(UTC).date()}: {describe_machine(torch.device("cpu"))}.
The clients run in a separate process on the same CPUs. The queue holds {Settings().queue_size} cases.

{render_throughput(test)}
{render_overload(test)}
{render_limits(test)}
![Response time, and fraction of rejected requests, against the offered load](load.png)
"""


def render_throughput(test: LoadTest) -> str:
    """Return the section on throughput."""
    all_threads = [throughput_row(row, test.all_threads[0], "all CPUs") for row in test.all_threads]
    one_thread = [throughput_row(row, test.one_thread[0], "1") for row in test.one_thread]
    rows = "\n".join(all_threads + one_thread)
    bound = usable_cpus() / test.all_threads[0].cpus_used
    return f"""## Throughput

{CASES_TIMED} cases; each client sends its next case when it has received a response (closed loop):

| threads of the networks | clients | cases per second | throughput relative to one client | CPUs used by the service |
|---|---|---|---|---|
{rows}

Additional clients can use only the CPU time that one client leaves idle: while the networks process one case, the next
one is received and decoded. With all threads, one client already uses
{test.all_threads[0].cpus_used:.2f} of {usable_cpus()} CPUs, so more clients can raise the throughput to at most
{bound:.2f} times that of one.
"""


def render_overload(test: LoadTest) -> str:
    """Return the section on overload."""
    rows = "\n".join(overload_row(overload, test.one_client_mib) for overload in test.overloads)
    return f"""## Overload

The capacity is the highest throughput above with all threads. In each row, requests are sent at a multiple of it for
{OVERLOAD_SECONDS} seconds, without waiting for responses (open loop). In the last row {RETRYING_CLIENTS} clients send
at the same time and retry after the time in `Retry-After`. p50, p95 and p99 are percentiles of the response time of
requests with status 200, from the scheduled time of the request to the last byte of its response.

| offered load | requests | 200 | 429 | other | p50 | p95 | p99 | /livez p99 | peak memory | relative memory |
|---|---|---|---|---|---|---|---|---|---|---|
{rows}

Peak memory with one client alone: {test.one_client_mib:.0f} MiB.
"""


def render_limits(test: LoadTest) -> str:
    """Return the section on the limits."""
    lines = [f"- {limit}: {'passed' if kept else '**failed**'}" for limit, kept in check_limits(test).items()]
    return "## Limits\n\n" + "\n".join(lines) + "\n"


def throughput_row(row: Throughput, one_client: Throughput, threads: str) -> str:
    """Return a row of the table of throughputs."""
    relative = row.cases_per_second / one_client.cases_per_second
    return f"| {threads} | {row.clients} | {row.cases_per_second:.2f} | {relative:.2f} | {row.cpus_used:.2f} |"


def overload_row(overload: Overload, one_client_mib: float) -> str:
    """Return a row of the table of overloads."""
    served, rejected = overload.statuses[HTTPStatus.OK], overload.statuses[HTTPStatus.TOO_MANY_REQUESTS]
    p50, p95, p99 = np.percentile(overload.served_s, [50, 95, 99])
    return (
        f"| {overload.title} | {overload.requests} | {served} | {rejected} | {overload.requests - served - rejected} "
        f"| {p50:.1f} s | {p95:.1f} s | {p99:.1f} s | {1000 * np.percentile(overload.livez_s, 99):.0f} ms "
        f"| {overload.peak_mib:.0f} MiB | {overload.peak_mib / one_client_mib:.2f} |"
    )


def draw(test: LoadTest) -> None:
    """Plot the response time, and the fraction of rejected requests, against the offered load."""
    overloads = test.overloads[: len(MULTIPLES)]
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    times, rejections = figure.subplots(1, 2)
    for percentile in (50, 95, 99):
        seconds = [np.percentile(overload.served_s, percentile) for overload in overloads]
        times.plot(MULTIPLES, seconds, "o-", label=f"{percentile}th percentile")
    times.set(xscale="log", ylabel="response time (s)", ylim=(0, None))
    times.legend()
    rejected = [overload.statuses[HTTPStatus.TOO_MANY_REQUESTS] / overload.requests for overload in overloads]
    rejections.plot(MULTIPLES, rejected, "o-")
    rejections.set(xscale="log", ylabel="fraction with status 429", ylim=(0, 1))
    for axes in (times, rejections):
        axes.set(xlabel="offered load, times capacity", xticks=MULTIPLES, xticklabels=MULTIPLES)
        axes.minorticks_off()
    figure.savefig(Path(__file__).with_name("load.png"), dpi=100)
