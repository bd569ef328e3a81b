"""Segments the cases that the arguments name, and writes the results and the table of all cases."""

import argparse
import os
import sys
from contextlib import AbstractAsyncContextManager
from dataclasses import fields

import anyio

from glioserve_client import Options
from service.command_line.segment.arguments import UsageError
from service.command_line.segment.bars import Bars
from service.command_line.segment.batch import Batch, Segmenter
from service.command_line.segment.cases import find_cases
from service.command_line.segment.layout import TABLE_NAME, Layout
from service.command_line.segment.outcome import Status, write_table
from service.command_line.segment.remote import make_client, open_service
from service.settings import read_settings_offline


def run(arguments: argparse.Namespace) -> bool:
    """Segment all cases; whether all are done. Raises UsageError, SettingsError, WeightsError or OSError."""
    options = Options(**{option.name: getattr(arguments, option.name) for option in fields(Options)})
    _check_combinations(arguments)
    segmenter = _segmenter_for(arguments)
    finding = find_cases(arguments.paths, arguments.out)
    layout = Layout(arguments.out, arguments.bids)
    layout.prepare(case.name for case in finding.cases)
    for other in finding.others:
        print(f"{other}: ignored, as it is neither a zip nor a folder", file=sys.stderr)
    bars = Bars(len(finding.cases), is_enabled=not arguments.json and sys.stderr.isatty())
    batch = Batch(finding.cases, options, layout, bars, arguments.json)
    try:
        anyio.run(_work, batch, segmenter)
    finally:
        bars.close()
        _finish(batch, arguments)
    return all(outcome.has_result for outcome in batch.ordered_outcomes())


def _check_combinations(arguments: argparse.Namespace) -> None:
    """Raise UsageError for arguments that exclude each other."""
    if arguments.bids and (arguments.probabilities or arguments.prepared or arguments.output != "nifti"):
        raise UsageError("--bids: expected none of --probabilities, --prepared and --output dicom, found one")
    if arguments.local and (arguments.url or arguments.key_file or arguments.ca_file):
        raise UsageError("--local: expected none of --url, --key-file and --ca-file, found one")


def _segmenter_for(arguments: argparse.Namespace) -> AbstractAsyncContextManager[Segmenter]:
    if not arguments.local:
        return open_service(make_client(arguments))
    from service.command_line.segment.local import open_local  # importing torch takes seconds

    return open_local(read_settings_offline(os.environ))


async def _work(batch: Batch, opening: AbstractAsyncContextManager[Segmenter]) -> None:
    async with opening as segmenter:
        await batch.run(segmenter)


def _finish(batch: Batch, arguments: argparse.Namespace) -> None:
    outcomes = batch.ordered_outcomes()
    table = arguments.out / TABLE_NAME
    write_table(table, outcomes)
    statuses = [outcome.status for outcome in outcomes]
    counts = ", ".join(f"{statuses.count(status)} {status}" for status in Status if status in statuses)
    print(f"{counts}; table of all cases: {table}", file=sys.stderr)
