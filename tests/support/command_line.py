"""The `glioserve` command, run as a user runs it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from service.settings import PREFIX

GLIOSERVE = Path(sys.executable).with_name("glioserve")


def environment_with(**settings: object) -> dict[str, str]:
    """The environment of this process plus a variable for each setting."""
    return os.environ | {f"{PREFIX}{name.upper()}": str(value) for name, value in settings.items()}


def run_glioserve(
    *arguments: object, stdout: Any = subprocess.PIPE, timeout_s: float | None = 300, **settings: object
) -> subprocess.CompletedProcess:
    """Run a subcommand with some settings until it exits, whatever its exit status."""
    return subprocess.run(
        [GLIOSERVE, *map(str, arguments)],
        env=environment_with(**settings),
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=timeout_s,
        check=False,
    )
