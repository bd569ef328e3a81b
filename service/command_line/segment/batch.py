"""Segmenting many cases, a few at a time."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from anyio import CapacityLimiter, create_task_group, to_thread

from glioserve_client import ConnectionFailedError, GlioServeError, Options, ProblemError, Result
from glioserve_client.case import PackedCase, pack
from glioserve_client.progress import ProgressCallback
from service.command_line.segment.bars import Bars
from service.command_line.segment.cases import FoundCase
from service.command_line.segment.layout import Layout
from service.command_line.segment.outcome import Outcome, Status, failure


class Segmenter(Protocol):
    """What segments a case: a service, or this process."""

    @property
    def max_cases(self) -> int:
        """How many cases may be in work at the same time."""

    async def segment(self, case: PackedCase, options: Options, progress: ProgressCallback) -> Result:
        """The result of a case. Raises GlioServeError or OSError."""


@dataclass
class Batch:
    """Cases, and what becomes of them."""

    cases: Sequence[FoundCase]
    options: Options
    layout: Layout
    bars: Bars
    as_json: bool
    outcomes: dict[str, Outcome] = field(default_factory=dict)  # by name of the case
    _obstacle: GlioServeError | OSError | None = None  # no further case is sent: it would fail for the same reason

    async def run(self, segmenter: Segmenter) -> None:
        """Segment all cases."""
        limiter = CapacityLimiter(segmenter.max_cases)

        async def work(case: FoundCase) -> None:
            async with limiter:
                with self.bars.case(case.name) as progress:
                    outcome = await self._outcome(case, segmenter, progress)
            self.outcomes[case.name] = outcome
            self.bars.print(outcome.to_json() if self.as_json else outcome.describe(), sys.stdout)

        async with create_task_group() as tasks:
            for case in self.cases:
                tasks.start_soon(work, case)

    def ordered_outcomes(self) -> list[Outcome]:
        """The outcomes in the order of the cases; those that have none were interrupted."""
        return [self.outcomes.get(case.name, Outcome(case.name, Status.INTERRUPTED)) for case in self.cases]

    async def _outcome(self, case: FoundCase, segmenter: Segmenter, progress: ProgressCallback) -> Outcome:
        try:
            return await self._segment(case, segmenter, progress)
        except (GlioServeError, OSError) as error:
            if _concerns_all(error):
                self._obstacle = error
            return failure(case.name, error)

    async def _segment(self, case: FoundCase, segmenter: Segmenter, progress: ProgressCallback) -> Outcome:
        with TemporaryDirectory(prefix="glioserve-") as folder:
            packed = await to_thread.run_sync(pack, case.path, Path(folder))
            key = packed.idempotency_key(self.options)
            if report := self.layout.read_report(case.name, key):
                return Outcome(case.name, Status.ALREADY_DONE, report)
            if self._obstacle:
                raise self._obstacle
            result = await segmenter.segment(packed, self.options, progress)
        self.layout.write(case.name, result, key)
        return Outcome(case.name, Status.DONE, result.report)


def _concerns_all(error: GlioServeError | OSError) -> bool:
    """Whether other cases would fail for the same reason: there is no connection, or the API key is refused."""
    refused = HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN
    return isinstance(error, ConnectionFailedError) or (isinstance(error, ProblemError) and error.status in refused)
