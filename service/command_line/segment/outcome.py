"""The outcome of each case: as a line for people, as JSON, and as a table of all cases."""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from glioserve_client import (
    ConnectionFailedError,
    GlioServeError,
    InvalidCaseError,
    ProblemError,
    UnexpectedAnswerError,
)
from service.imaging.labels import Region

KINDS = {  # of errors that have no type of the service
    ConnectionFailedError: "connection-failed",
    InvalidCaseError: "invalid-case",
    UnexpectedAnswerError: "unexpected-answer",
}
FILE_ERROR = "file"
SCORES = "dice", "sensitivity", "specificity", "hd95_mm"


class Status(StrEnum):
    """How a case ended."""

    DONE = "done"
    ALREADY_DONE = "already-done"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class Outcome:
    """How a case ended, with the report or the problem."""

    case: str
    status: Status
    report: Mapping[str, Any] | None = None
    problem_type: str = ""  # as in docs/errors.md, or one of KINDS
    problem: str = ""

    @property
    def has_result(self) -> bool:
        """Whether the results are on disk."""
        return self.report is not None

    def describe(self) -> str:
        """One line for people."""
        if self.report is None:
            return f"{self.case}: {self.status}: {self.problem}"
        volumes = ", ".join(f"{region} {found['volume_ml']:.1f} ml" for region, found in self.report["regions"].items())
        reasons = "; ".join(self.report["review_reasons"])
        return f"{self.case}: {self.status}: {volumes}" + (f"; review recommended: {reasons}" if reasons else "")

    def to_json(self) -> str:
        """One line of JSON."""
        problem = {"type": self.problem_type, "detail": self.problem} if self.problem else None
        return json.dumps({"case": self.case, "outcome": self.status, "problem": problem, "report": self.report})

    def to_row(self) -> dict[str, object]:
        """A row of the table."""
        row: dict[str, object] = {"case": self.case, "outcome": self.status}
        if self.problem:
            row["problem"] = f"{self.problem_type}: {self.problem}"
        return row | (dict(_measurements(self.report)) if self.report else {})


def failure(case: str, error: GlioServeError | OSError) -> Outcome:
    """The outcome of a case that failed with an error."""
    if isinstance(error, ProblemError):
        return Outcome(case, Status.FAILED, problem_type=error.kind, problem=error.detail)
    if isinstance(error, OSError):
        text = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        return Outcome(case, Status.FAILED, problem_type=FILE_ERROR, problem=text)
    return Outcome(case, Status.FAILED, problem_type=KINDS[type(error)], problem=str(error))


def write_table(path: Path, outcomes: Iterable[Outcome]) -> None:
    """Write one row for each case. Raises OSError."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS, restval="")
        table.writeheader()
        table.writerows(outcome.to_row() for outcome in outcomes)


def _measurements(report: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    for region, found in report["regions"].items():
        yield f"{region}_volume_ml", found["volume_ml"]
        if quality := found["quality"]:
            yield f"{region}_predicted_dice", quality["predicted_dice"]
        for score in SCORES if found["scores"] else ():
            yield f"{region}_{score}", found["scores"][score]
    yield "review_recommended", str(report["review_recommended"]).lower()
    yield "review_reasons", "; ".join(report["review_reasons"])


COLUMNS = (
    "case",
    "outcome",
    "problem",
    *(f"{region}_{name}" for name in ("volume_ml", "predicted_dice", *SCORES) for region in Region),
    "review_recommended",
    "review_reasons",
)
