"""schemathesis on the OpenAPI document of a running service: every check, every phase."""

import os
import re
import subprocess
import sys
from pathlib import Path
from shutil import rmtree
from time import monotonic

from fuzz_http import SETTINGS, known_weights, make_keys
from fuzz_readers import Findings
from serving import served

SCHEMATHESIS = Path(sys.executable).with_name("st")
PHASES = "examples,coverage,fuzzing,stateful"
WAITING = 64  # cases: what is refused for want of room says nothing about the document


def fuzz_schema(seed: int, seconds: float, out: Path, *, keyed: bool) -> tuple[Findings, float]:
    """Run it for about so many seconds, where everybody needs a key or nobody; gives also what it took."""
    folder = out / ("schema-keyed" if keyed else "schema")
    rmtree(folder, ignore_errors=True)
    settings = SETTINGS | {"max_waiting": WAITING, "weights": known_weights(out)}
    header: list[str] = []
    if keyed:
        settings["keys"] = folder.with_suffix(".keys")
        header = ["--header", f"Authorization: Bearer {make_keys(settings['keys'])[0]}"]
    environment = os.environ | {"SCHEMATHESIS_HOOKS": "fuzz_hooks", "PYTHONPATH": str(Path(__file__).parent)}
    started = monotonic()
    with served(folder, **settings) as service:
        command = [
            SCHEMATHESIS, "run", f"{service.address}/openapi.json", "--checks", "all", "--phases", PHASES,
            "--seed", str(seed), "--max-time", str(int(seconds)), "--continue-on-failure", "--no-color",
            *header,
        ]  # fmt: skip
        done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)
    report = folder / "report"
    report.write_text(done.stdout + done.stderr)
    findings = Findings()
    if generated := re.search(r"^\s*(\d+) generated", done.stdout, re.MULTILINE):
        findings.inputs = int(generated[1])
    findings.crashes += re.findall(r"^\s*❌ (.*: \d+)$", done.stdout, re.MULTILINE)
    if done.returncode:
        findings.crashes.append(f"exit status {done.returncode}: {report}")
    return findings, monotonic() - started
