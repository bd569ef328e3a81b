"""Fuzz the upload readers and a running service, and fail if anything crashes, hangs or breaks a rule.

    PYTHONPATH=tests python -m fuzz [--minutes 12] [--seed 1] [--part readers ...]

Only the loopback address is used. Failing inputs are saved in build/fuzz. The same seed gives the same inputs, but the
responses of a server also depend on timing.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from fuzz.http import MAX_MEMORY_RATIO, fuzz_http
from fuzz.readers import fuzz_readers
from fuzz.schema import fuzz_schema

OUT = Path("build") / "fuzz"
FINDINGS_SHOWN = 20


@dataclass(frozen=True)
class PartResult:
    """The result of a part."""

    inputs: int = 0
    seconds: float = 0
    crashes: tuple[str, ...] = ()
    hangs: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()  # 5xx responses, and responses that break another rule
    leftover: int | None = None  # job folders on the spool
    memory: float | None = None  # resident memory after, divided by that before
    note: str = ""


def run_readers(seed: int, seconds: float, min_inputs: int) -> PartResult:
    """Generated and mutated uploads, through the code that reads them."""
    started = monotonic()
    found = fuzz_readers(seed, seconds, min_inputs, OUT)
    outcomes = ", ".join(f"{name} {count}" for name, count in found.outcomes.most_common())
    return PartResult(found.inputs, monotonic() - started, tuple(found.crashes), tuple(found.hangs), note=outcomes)


def run_coverage(seed: int, seconds: float, _: int) -> PartResult:
    """The same code, with coverage-guided inputs."""
    try:
        from fuzz.coverage import fuzz_coverage  # atheris has no wheels for some platforms
    except ImportError as error:
        return PartResult(note=f"did not run: {error}")
    found, duration_s = fuzz_coverage(seed, seconds, OUT)
    return PartResult(found.inputs, duration_s, tuple(found.crashes), tuple(found.hangs))


def run_http(seed: int, seconds: float, min_inputs: int) -> PartResult:
    """Malformed and unusual requests."""
    tally = fuzz_http(seed, seconds, min_inputs, OUT)
    return PartResult(
        tally.requests,
        tally.seconds,
        hangs=(*tally.hangs, *(f"no answer: {request}" for request in tally.unanswered)),
        failures=tuple(tally.failures),
        leftover=tally.leftover,
        memory=tally.memory_ratio,
        note=", ".join(f"{status} {count}" for status, count in tally.statuses.most_common()),
    )


def run_schema(seed: int, seconds: float, _: int) -> PartResult:
    """Requests that the OpenAPI document allows and forbids."""
    found, duration_s = fuzz_schema(seed, seconds, OUT, with_keys=False)
    return PartResult(found.inputs, duration_s, failures=tuple(found.crashes))


def run_schema_with_keys(seed: int, seconds: float, _: int) -> PartResult:
    """The same for a service that requires keys."""
    found, duration_s = fuzz_schema(seed, seconds, OUT, with_keys=True)
    return PartResult(found.inputs, duration_s, failures=tuple(found.crashes))


@dataclass(frozen=True)
class Part:
    """A part, its share of the time, and the smallest number of inputs that counts as a complete run."""

    run: Callable[[int, float, int], PartResult]
    share: float
    min_inputs: int


PARTS = {
    "readers": Part(run_readers, 0.35, 100_000),
    "coverage": Part(run_coverage, 0.15, 1_000),
    "http": Part(run_http, 0.3, 20_000),
    "schema": Part(run_schema, 0.1, 300),
    "schema, keys": Part(run_schema_with_keys, 0.1, 300),
}


def main() -> None:
    """Run the parts, print their results, and fail if anything was found."""
    arguments = _arguments()
    OUT.mkdir(parents=True, exist_ok=True)
    results = {}
    for name in arguments.part or PARTS:
        part = PARTS[name]
        print(f"{name}: {part.run.__doc__}", flush=True)
        seconds = 60 * arguments.minutes * part.share
        results[name] = part.run(arguments.seed, seconds, part.min_inputs)
    print(render(results))
    sys.exit(not all(has_passed(name, result) for name, result in results.items()))


def has_passed(name: str, result: PartResult) -> bool:
    """Whether nothing was found in enough inputs."""
    nothing_found = not (result.crashes or result.hangs or result.failures or result.leftover)
    return nothing_found and result.inputs >= PARTS[name].min_inputs and (result.memory or 0) <= MAX_MEMORY_RATIO


def render(results: dict[str, PartResult]) -> str:
    """A table of the parts, followed by what was found."""
    lines = [
        f"{'part':14}{'inputs':>9}{'seconds':>9}{'crashes':>9}{'hangs':>7}{'5xx':>6}{'left':>6}{'memory':>8}",
        *(_line(name, result) for name, result in results.items()),
    ]
    for name, result in results.items():
        lines.append(f"\n{name}: {result.note or 'see build/fuzz'}")
        found = (*result.crashes, *result.hangs, *result.failures)
        lines += [f"  {line}" for line in found[:FINDINGS_SHOWN]]
        lines += [f"  and {len(found) - FINDINGS_SHOWN} more"] if len(found) > FINDINGS_SHOWN else []
    return "\n".join(lines)


def _line(name: str, result: PartResult) -> str:
    leftover = "-" if result.leftover is None else result.leftover
    memory = "-" if result.memory is None else f"{result.memory:.3f}"
    too_few = "" if result.inputs >= PARTS[name].min_inputs else f"  did not reach {PARTS[name].min_inputs} inputs"
    return (
        f"{name:14}{result.inputs:>9}{result.seconds:>9.0f}{len(result.crashes):>9}{len(result.hangs):>7}"
        f"{len(result.failures):>6}{leftover:>6}{memory:>8}{'' if has_passed(name, result) else '  FAILED'}{too_few}"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Fuzz the readers and a running service.")
    parser.add_argument("--minutes", type=float, default=12, help="in total for all parts")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--part", action="append", choices=list(PARTS), help="run only this part; may be repeated")
    return parser.parse_args()


if __name__ == "__main__":
    main()
