"""Fuzzing of a running service by its OpenAPI document with schemathesis: every check, every phase."""

import os
import re
import subprocess
import sys
from pathlib import Path
from shutil import rmtree
from time import monotonic

from support.running_service import serve_in_process

from fuzz.findings import Findings
from fuzz.http import SETTINGS, known_weights, make_keys

SCHEMATHESIS = Path(sys.executable).with_name("st")
PHASES = "examples,coverage,fuzzing,stateful"
QUEUE_SIZE = 64  # cases; rejections by a full queue would say nothing about the document


def fuzz_schema(seed: int, seconds: float, out: Path, *, with_keys: bool) -> tuple[Findings, float]:
    """Fuzz for about this many seconds, with or without keys; return the findings and the duration."""
    folder = out / ("schema-with-keys" if with_keys else "schema")
    rmtree(folder, ignore_errors=True)
    settings = SETTINGS | {"queue_size": QUEUE_SIZE, "weights": known_weights(out)}
    header: list[str] = []
    if with_keys:
        settings["keys_file"] = folder.with_suffix(".keys")
        header = ["--header", f"Authorization: Bearer {make_keys(settings['keys'])[0]}"]
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"SCHEMATHESIS_HOOKS": "fuzz.hooks", "PYTHONPATH": path}
    started = monotonic()
    with serve_in_process(folder, **settings) as service:
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
