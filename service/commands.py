"""What the words of the command line do.

What one needs is imported when it runs: torch takes seconds and 200 MiB, and a container asks after its health all the
time.
"""

import argparse
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import asdict
from errno import EBADF
from pathlib import Path
from typing import TypeVar

from service import audit
from service.errors import SettingsError
from service.keys import KeyFile, Scope
from service.settings import Settings, read_settings, read_settings_offline

BACKLOG = 2048  # connections that may wait for the service to look at them
RED, PLAIN = "\033[31m", "\033[0m"  # of terminals
T = TypeVar("T")


def serve(_: argparse.Namespace) -> None:
    """Serve until told to end."""
    from service.app import create_app
    from service.log import start_logging
    from service.process import forbid_core_dumps, keep_files_private, keep_heap_small
    from service.server import Server

    forbid_core_dumps()
    keep_files_private()
    keep_heap_small()
    settings = read_settings(os.environ)
    app = create_app(settings)
    server = Server(app)
    start_logging()
    server.run([_listen(settings)])
    if failure := app.state.lifetime.failure:
        sys.exit(str(failure))


def _listen(settings: Settings) -> socket.socket:
    """The socket of the service, before anything is loaded; exits where there is none to be had."""
    try:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        return socket.create_server((settings.host, settings.port), family=family, backlog=BACKLOG)
    except OSError as error:
        found = f"{settings.host} port {settings.port}: {error.strerror}"
        sys.exit(f"GLIOSERVE_HOST, GLIOSERVE_PORT: expected an address that is free to listen on, found {found}.")


def add_key(arguments: argparse.Namespace) -> None:
    """Make a key and print it; one that cannot be shown is revoked, as nobody would ever know it."""
    key = _on_keys(lambda file: file.add(arguments.name, arguments.scope or [Scope.SEGMENT]))
    try:
        _write_out(f"{key}\n".encode())
    except OSError:
        _on_keys(lambda file: file.revoke(arguments.name))
        raise
    print("Keep it well: it is shown once, and only its hash is kept.", file=sys.stderr)


def list_keys(_: argparse.Namespace) -> None:
    """Print all keys, a line each."""
    for key in _on_keys(KeyFile.read).values():
        end = f"revoked {key.revoked:%Y-%m-%d}" if key.revoked else "in force"
        print(f"{key.id}  {key.name:20}  {','.join(key.scopes):20}  made {key.created:%Y-%m-%d}  {end}")


def revoke_key(arguments: argparse.Namespace) -> None:
    """Make a key good for nothing."""
    key = _on_keys(lambda file: file.revoke(arguments.name))
    print(f"revoked {key.id} {key.name}: running services know it with their next request")


def _on_keys(action: Callable[[KeyFile], T]) -> T:
    """What comes of something done with the keys file of the settings. Raises SettingsError."""
    path = read_settings(os.environ).keys
    if path is None:
        raise SettingsError(
            "GLIOSERVE_KEYS: expected the path of a file for the keys, which `keys add` makes, found nothing."
        )
    return action(KeyFile(path))


def verify_audit(arguments: argparse.Namespace) -> None:
    """Say whether the audit is as it was written."""
    settings = read_settings(os.environ)
    path = arguments.file or settings.audit or settings.spool.expanduser() / audit.NAME
    verdict = audit.verify(path, arguments.noted)
    print(f"{verdict.lines} lines; the last has the hash {verdict.last_hash}")
    if verdict.faults:
        sys.exit("\n".join(verdict.faults))
    print(
        "Each follows the one before it. Note that hash elsewhere: --noted HASH shows later whether all is as it was."
    )


def health(_: argparse.Namespace) -> None:
    """Say that the service is alive, or end with status 1."""
    from service.health import check_health

    check_health(read_settings(os.environ))
    print("alive")


def doctor(_: argparse.Namespace) -> None:
    """Print what the service finds on this machine; end with status 1 where something is to mend."""
    from service.doctor import examine

    cures = 0
    for finding in examine(os.environ):
        mark = "!!" if finding.cure else "ok"
        line = f"{mark}  {finding.subject:12}  {finding.found}" + (f"\n    -> {finding.cure}" if finding.cure else "")
        print(f"{RED}{line}{PLAIN}" if finding.cure and sys.stdout.isatty() else line)
        cures += bool(finding.cure)
    if cures:
        sys.exit(f"{cures} to mend: the lines with !!")


def selftest(arguments: argparse.Namespace) -> None:
    """Compare this machine's answer with the recorded one, or record it."""
    from service.selftest import record_answer, run_selftest

    settings = read_settings_offline(os.environ)
    if arguments.record:
        print(f"wrote {record_answer(settings)}")
        return
    result = run_selftest(settings)
    print(f"phantom segmented on {result.device} in {result.precision}: {result.seconds:.1f} s")
    agreement = ", ".join(f"{region} {dice:.4f}" for region, dice in result.dice.items())
    print("mask identical to the recorded one" if result.identical else f"Dice with the recorded mask: {agreement}")
    if not result.passed:
        sys.exit("Not passed: this machine, or these weights, do not answer as recorded.")
    print("passed")


def bench(arguments: argparse.Namespace) -> None:
    """Measure a case, and print the figures."""
    from service.bench.measurement import measure
    from service.bench.table import render
    from service.phantom import encode_phantom, make_phantom, zip_files

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that its server does not outlive it
    if arguments.json and (arguments.json.is_dir() or not arguments.json.parent.is_dir()):
        sys.exit(f"--json: expected a file in a folder that exists, found {arguments.json}")
    settings = read_settings_offline(os.environ)
    case = arguments.case.read_bytes() if arguments.case else zip_files(encode_phantom(make_phantom()))
    measurement = measure(case, settings)
    print(render(measurement))
    if arguments.json:
        arguments.json.write_text(json.dumps(asdict(measurement), indent=2) + "\n")


def phantom(arguments: argparse.Namespace) -> None:
    """Write the synthetic case."""
    from service.phantom import encode_phantom, make_phantom, zip_files

    case = zip_files(encode_phantom(make_phantom()))
    if arguments.out == Path("-"):
        _write_out(case)
        return
    arguments.out.write_bytes(case)
    print(f"wrote {arguments.out}: a synthetic case with ground truth")


def _write_out(data: bytes) -> None:
    """Write to standard output, and know that it went. Raises OSError, also where it is closed."""
    if sys.stdout is None:
        raise OSError(EBADF, os.strerror(EBADF), "standard output")
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def openapi(arguments: argparse.Namespace) -> None:
    """Write the OpenAPI document of a service with keys."""
    from service.app import create_app

    with_keys = Settings(keys=Path("any"))
    arguments.out.write_text(json.dumps(create_app(with_keys).openapi(), indent=2) + "\n")
