"""A measurement as a plain-text table."""

from collections.abc import Iterator

from service.command_line.bench.measurement import RUNS, Measurement


def render(measured: Measurement) -> str:
    """One table with one figure per row."""
    rows = list(_rows(measured))
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:{width}}  {value}" for name, value in rows)


def _rows(m: Measurement) -> Iterator[tuple[str, str]]:
    yield "machine", f"{m.machine}; torch {m.torch}, {m.threads} threads; {m.date}"
    slices, slices_run = m.computation["slices"], m.computation["slices_run"]
    yield "case", f"{' x '.join(map(str, m.shape))} voxels, {slices} slices"
    yield "(a) paper-size networks", f"{m.paper_size_s:7.1f} s, {_paper_size(m)}"
    yield "(b) this service over HTTP", f"{m.end_to_end_s:7.2f} s, median of {RUNS} warm requests"
    yield "    95th percentile", f"{m.end_to_end_p95_s:7.2f} s"
    yield "(a) / (b)", f"{m.ratio:7.0f}"
    for stage, ms in m.stages_ms.items():
        run = slices_run.get(stage.removeprefix("predict_"))
        yield f"    {stage}", f"{ms:7.0f} ms" + (f", {run} of {slices} slices" if run is not None else "")
    yield "networks", f"{m.networks_gflop_s:7.0f} GFLOP/s: {m.networks_gflop:.0f} GFLOP {_place(m)}"
    for precision, rate in m.matrix_gflop_s.items():
        yield f"    matrix product, {precision}", f"{rate:7.0f} GFLOP/s"
    yield "peak resident memory", f"{m.peak_rss_mib:7.0f} MiB, one client"
    yield "", f"{m.peak_rss_most_clients_mib:7.0f} MiB, {max(m.cases_an_hour)} clients"
    yield "peak device memory", f"{m.device_peak_mib:7.0f} MiB, {_device_peak(m)}"
    for precision, peaks in m.predicted_device_mib.items():
        for batch, mib in peaks.items():
            yield f"    {precision}, batch {batch}", f"{mib:7.0f} MiB, predicted"
    for clients, cases in m.cases_an_hour.items():
        yield f"cases per hour, {clients} client{'s' * (clients > 1)}", f"{cases:7.0f}"


def _paper_size(m: Measurement) -> str:
    return (
        "three of width 64 on every slice, float32, batches of 10; "
        f"extrapolated from {m.paper_size_slices_timed} slices of one"
    )


def _device_peak(m: Measurement) -> str:
    return "measured" if m.computation["device"] != "cpu" else "predicted for a GPU in float16, batches of 10"


def _place(m: Measurement) -> str:
    return f"in {m.computation['precision']} on {m.computation['device']}"
