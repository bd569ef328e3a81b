"""Throw made-up inputs at the readers and at a running service, and fail where one of them does.

    python tests/fuzz.py [--minutes 12] [--seed 1] [--part readers ...]

Everything stays on the loopback address and below build/fuzz, where inputs that failed are kept. A seed gives the same
inputs again; what the clients of a server meet depends on their timing too.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from fuzz_http import MOST_MEMORY, fuzz_http
from fuzz_readers import fuzz_readers
from fuzz_schema import fuzz_schema

OUT = Path("build") / "fuzz"
FINDINGS_SHOWN = 20


@dataclass(frozen=True)
class Row:
    """What came of a part."""

    inputs: int = 0
    seconds: float = 0
    crashes: tuple[str, ...] = ()
    hangs: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()  # 5xx, and whatever else an answer may not be
    left: int | None = None  # folders on the spool
    memory: float | None = None  # after, times before
    note: str = ""


def readers(seed: int, seconds: float, least: int) -> Row:
    """Uploads, built and changed, through the code that reads them."""
    started = monotonic()
    found = fuzz_readers(seed, seconds, least, OUT)
    outcomes = ", ".join(f"{name} {count}" for name, count in found.outcomes.most_common())
    return Row(found.inputs, monotonic() - started, tuple(found.crashes), tuple(found.hangs), note=outcomes)


def coverage(seed: int, seconds: float, _: int) -> Row:
    """The same code, inputs chosen by what they reach of it."""
    try:
        from fuzz_coverage import fuzz_coverage  # there are no wheels of atheris for some machines
    except ImportError as error:
        return Row(note=f"did not run: {error}")
    found, took = fuzz_coverage(seed, seconds, OUT)
    return Row(found.inputs, took, tuple(found.crashes), tuple(found.hangs))


def http(seed: int, seconds: float, least: int) -> Row:
    """Requests that nobody would send."""
    tally = fuzz_http(seed, seconds, least, OUT)
    return Row(
        tally.requests,
        tally.seconds,
        hangs=(*tally.hangs, *(f"no answer: {request}" for request in tally.unanswered)),
        failures=tuple(tally.failures),
        left=tally.left,
        memory=tally.memory_ratio,
        note=", ".join(f"{status} {count}" for status, count in tally.statuses.most_common()),
    )


def schema(seed: int, seconds: float, _: int) -> Row:
    """Requests that the OpenAPI document calls right, and wrong."""
    found, took = fuzz_schema(seed, seconds, OUT, keyed=False)
    return Row(found.inputs, took, failures=tuple(found.crashes))


def keyed_schema(seed: int, seconds: float, _: int) -> Row:
    """The same where everybody needs a key."""
    found, took = fuzz_schema(seed, seconds, OUT, keyed=True)
    return Row(found.inputs, took, failures=tuple(found.crashes))


@dataclass(frozen=True)
class Part:
    """A part, the share of the time that it gets, and the fewest inputs that count as having run."""

    run: Callable[[int, float, int], Row]
    share: float
    least: int


PARTS = {
    "readers": Part(readers, 0.35, 100_000),
    "coverage": Part(coverage, 0.15, 1_000),
    "http": Part(http, 0.3, 20_000),
    "schema": Part(schema, 0.1, 300),
    "schema, keyed": Part(keyed_schema, 0.1, 300),
}


def main() -> None:
    """Run the parts, print what came of them, and fail where anything is wrong."""
    arguments = _arguments()
    OUT.mkdir(parents=True, exist_ok=True)
    rows = {}
    for name in arguments.part or PARTS:
        part = PARTS[name]
        print(f"{name}: {part.run.__doc__}", flush=True)
        seconds = 60 * arguments.minutes * part.share
        rows[name] = part.run(arguments.seed, seconds, part.least)
    print(render(rows))
    sys.exit(not all(is_fine(name, row) for name, row in rows.items()))


def is_fine(name: str, row: Row) -> bool:
    """Whether nothing was found, in enough inputs."""
    nothing_found = not (row.crashes or row.hangs or row.failures or row.left)
    return nothing_found and row.inputs >= PARTS[name].least and (row.memory or 0) <= MOST_MEMORY


def render(rows: dict[str, Row]) -> str:
    """The table, and below it what was found."""
    lines = [
        f"{'part':14}{'inputs':>9}{'seconds':>9}{'crashes':>9}{'hangs':>7}{'5xx':>6}{'left':>6}{'memory':>8}",
        *(_line(name, row) for name, row in rows.items()),
    ]
    for name, row in rows.items():
        lines.append(f"\n{name}: {row.note or 'see build/fuzz'}")
        found = (*row.crashes, *row.hangs, *row.failures)
        lines += [f"  {line}" for line in found[:FINDINGS_SHOWN]]
        lines += [f"  and {len(found) - FINDINGS_SHOWN} more"] if len(found) > FINDINGS_SHOWN else []
    return "\n".join(lines)


def _line(name: str, row: Row) -> str:
    left = "-" if row.left is None else row.left
    memory = "-" if row.memory is None else f"{row.memory:.3f}"
    enough = "" if row.inputs >= PARTS[name].least else f"  did not reach {PARTS[name].least} inputs"
    return (
        f"{name:14}{row.inputs:>9}{row.seconds:>9.0f}{len(row.crashes):>9}{len(row.hangs):>7}"
        f"{len(row.failures):>6}{left:>6}{memory:>8}{'' if is_fine(name, row) else '  FAILED'}{enough}"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Fuzz the readers and a running service.")
    parser.add_argument("--minutes", type=float, default=12, help="of all parts together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--part", action="append", choices=list(PARTS), help="one of them alone; may be repeated")
    return parser.parse_args()


if __name__ == "__main__":
    main()
