"""What the subcommands do.

Each imports what it needs when it runs: importing torch takes seconds and 200 MiB, and containers run `health` often.
"""

import argparse
import json
import os
import re
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict
from errno import EBADF
from pathlib import Path
from typing import TypeVar

from service.errors import SettingsError
from service.security import audit
from service.security.keys import KeyFile, Scope
from service.settings import Settings, read_settings, read_settings_offline

HASH = re.compile(r"[0-9a-f]{64}")
RED, RESET = "\033[31m", "\033[0m"  # terminal escape sequences
T = TypeVar("T")


def add_key(arguments: argparse.Namespace) -> None:
    """Create an API key and print it; if printing fails, revoke it, as no one could ever use it."""
    key = _with_keys(lambda file: file.add(arguments.name, arguments.scope or [Scope.SEGMENT]))
    try:
        _write_stdout(f"{key}\n".encode())
    except OSError:
        _with_keys(lambda file: file.revoke(arguments.name))
        raise
    print("Store it safely: it is shown only once, and only its hash is kept.", file=sys.stderr)


def list_keys(_: argparse.Namespace) -> None:
    """Print all API keys, one per line."""
    for key in _with_keys(KeyFile.read).values():
        state = f"revoked {key.revoked:%Y-%m-%d}" if key.revoked else "active"
        print(f"{key.id}  {key.name:20}  {','.join(key.scopes):20}  created {key.created:%Y-%m-%d}  {state}")


def revoke_key(arguments: argparse.Namespace) -> None:
    """Revoke an API key."""
    key = _with_keys(lambda file: file.revoke(arguments.name))
    print(f"revoked {key.id} {key.name}: running services reject it from their next request on")


def _with_keys(action: Callable[[KeyFile], T]) -> T:
    """Call an action with the keys file that the settings name; return its result. Raises SettingsError."""
    path = read_settings(os.environ).keys_file
    if path is None:
        raise SettingsError(
            "GLIOSERVE_KEYS_FILE: expected the path of a keys file, which `keys add` creates, found nothing."
        )
    return action(KeyFile(path))


def verify_audit(arguments: argparse.Namespace) -> None:
    """Check the audit log."""
    if arguments.noted and not HASH.fullmatch(arguments.noted):
        sys.exit(f"--noted: expected a hash of 64 hexadecimal digits, found {arguments.noted!r}")
    settings = read_settings(os.environ)
    path = arguments.file or settings.audit_log or settings.spool.expanduser() / audit.FILE_NAME
    result = audit.verify(path, arguments.noted)
    print(f"{result.lines} lines; hash of the last line: {result.last_hash}")
    if result.faults:
        sys.exit("\n".join(result.faults))
    print("The hash chain is intact. Store the hash elsewhere: --noted HASH can then prove that no line was changed.")


def health(arguments: argparse.Namespace) -> None:
    """Check that the service, or the bridge, is alive; otherwise exit with status 1."""
    from service.bridge.settings import read_bridge_settings
    from service.command_line.health import check_bridge_health, check_health

    if arguments.bridge:
        check_bridge_health(read_bridge_settings(os.environ))
    else:
        check_health(read_settings(os.environ))
    print("alive")


def doctor(_: argparse.Namespace) -> None:
    """Print what the service finds on this machine; exit with status 1 if something must be fixed."""
    from service.command_line.doctor import examine

    problems = 0
    for finding in examine(os.environ):
        mark = "!!" if finding.fix else "ok"
        line = f"{mark}  {finding.subject:12}  {finding.found}" + (f"\n    -> {finding.fix}" if finding.fix else "")
        print(f"{RED}{line}{RESET}" if finding.fix and sys.stdout.isatty() else line)
        problems += bool(finding.fix)
    if problems:
        sys.exit(f"{problems} problem{'s' * (problems > 1)} to fix: the lines with !!")


def selftest(arguments: argparse.Namespace) -> None:
    """Compare this machine's mask of the phantom with the recorded one, or record it."""
    from service.command_line.selftest import record_mask, run_selftest

    settings = read_settings_offline(os.environ)
    if arguments.record:
        print(f"wrote {record_mask(settings)}")
        return
    result = run_selftest(settings)
    print(f"phantom segmented on {result.device} in {result.precision}: {result.seconds:.1f} s")
    scores = ", ".join(f"{region} {dice:.4f}" for region, dice in result.dice.items())
    print("mask identical to the recorded one" if result.is_identical else f"Dice with the recorded mask: {scores}")
    if not result.has_passed:
        sys.exit("Failed: this machine, or these weights, do not reproduce the recorded label map.")
    print("passed")


def bench(arguments: argparse.Namespace) -> None:
    """Measure a case, and print the figures."""
    from service.command_line.bench.measurement import measure
    from service.command_line.bench.table import render
    from service.imaging.phantom import encode_phantom, make_phantom, zip_files

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the measured server is stopped as well
    if arguments.json and (arguments.json.is_dir() or not arguments.json.parent.is_dir()):
        sys.exit(f"--json: expected a file in an existing folder, found {arguments.json}")
    settings = read_settings_offline(os.environ)
    case = arguments.case.read_bytes() if arguments.case else zip_files(encode_phantom(make_phantom()))
    measurement = measure(case, settings)
    print(render(measurement))
    if arguments.json:
        arguments.json.write_text(json.dumps(asdict(measurement), indent=2) + "\n")


def phantom(arguments: argparse.Namespace) -> None:
    """Write the synthetic case."""
    from service.imaging.phantom import encode_phantom, make_phantom, zip_files

    case = zip_files(encode_phantom(make_phantom()))
    if arguments.out == Path("-"):
        _write_stdout(case)
        return
    arguments.out.write_bytes(case)
    print(f"wrote {arguments.out}: a synthetic case with ground truth")


def _write_stdout(data: bytes) -> None:
    """Write to standard output and flush. Raises OSError, also if it is closed."""
    if sys.stdout is None:
        raise OSError(EBADF, os.strerror(EBADF), "standard output")
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def openapi(arguments: argparse.Namespace) -> None:
    """Write the OpenAPI document of a service that requires API keys."""
    from service.app import create_app

    with_keys = Settings(keys_file=Path("any"))
    arguments.out.write_text(json.dumps(create_app(with_keys).openapi(), indent=2) + "\n")
