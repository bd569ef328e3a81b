"""The command line: glioserve serve, keys, audit, health, doctor, selftest, bench, phantom, openapi.

What a command needs is imported when it runs: torch takes seconds and 200 MiB, and a container asks after its health
all the time.
"""

import argparse
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from service import audit
from service.errors import BenchError, HealthError, RequestError, SelftestError, SettingsError
from service.keys import KeyFile, Scope
from service.segmentation.errors import InputError, WeightsError
from service.settings import Settings, describe_settings, read_settings, read_settings_offline

BACKLOG = 2048  # connections that may wait for the service to look at them
T = TypeVar("T")
COMPLAINTS = BenchError, HealthError, InputError, RequestError, SelftestError, SettingsError, WeightsError
RED, PLAIN = "\033[31m", "\033[0m"  # of terminals
INTERRUPTED = 130  # the status by which shells know Ctrl-C


def main() -> None:
    """Run one command."""
    arguments = _parser().parse_args()
    try:
        arguments.command(arguments)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except COMPLAINTS as error:  # in a line, not in a page
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"{error.filename}: {error.strerror}" if error.filename else str(error))


def _serve(_: argparse.Namespace) -> None:
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


def _add_key(arguments: argparse.Namespace) -> None:
    print(_on_keys(lambda file: file.add(arguments.name, arguments.scope or [Scope.SEGMENT])))
    print("Keep it well: it is shown once, and only its hash is kept.", file=sys.stderr)


def _list_keys(_: argparse.Namespace) -> None:
    for key in _on_keys(KeyFile.read).values():
        end = f"revoked {key.revoked:%Y-%m-%d}" if key.revoked else "in force"
        print(f"{key.id}  {key.name:20}  {','.join(key.scopes):20}  made {key.created:%Y-%m-%d}  {end}")


def _revoke_key(arguments: argparse.Namespace) -> None:
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


def _verify_audit(arguments: argparse.Namespace) -> None:
    settings = read_settings(os.environ)
    path = arguments.file or settings.audit or settings.spool.expanduser() / audit.NAME
    verdict = audit.verify(path, arguments.noted)
    print(f"{verdict.lines} lines; the last has the hash {verdict.last_hash}")
    if verdict.faults:
        sys.exit("\n".join(verdict.faults))
    print(
        "Each follows the one before it. Note that hash elsewhere: --noted HASH shows later whether all is as it was."
    )


def _health(_: argparse.Namespace) -> None:
    from service.health import check_health

    check_health(read_settings(os.environ))
    print("alive")


def _doctor(_: argparse.Namespace) -> None:
    from service.doctor import examine

    cures = 0
    for finding in examine(os.environ):
        mark = "!!" if finding.cure else "ok"
        line = f"{mark}  {finding.subject:12}  {finding.found}" + (f"\n    -> {finding.cure}" if finding.cure else "")
        print(f"{RED}{line}{PLAIN}" if finding.cure and sys.stdout.isatty() else line)
        cures += bool(finding.cure)
    if cures:
        sys.exit(f"{cures} to mend: the lines with !!")


def _selftest(arguments: argparse.Namespace) -> None:
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


def _bench(arguments: argparse.Namespace) -> None:
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


def _phantom(arguments: argparse.Namespace) -> None:
    from service.phantom import encode_phantom, make_phantom, zip_files

    arguments.out.write_bytes(zip_files(encode_phantom(make_phantom())))
    print(f"wrote {arguments.out}: a synthetic case with ground truth", file=sys.stderr)


def _openapi(arguments: argparse.Namespace) -> None:
    from service.app import create_app

    with_keys = Settings(keys=Path("any"))
    arguments.out.write_text(json.dumps(create_app(with_keys).openapi(), indent=2) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="glioserve", description="Brain tumour segmentation as a web service")
    commands = parser.add_subparsers(required=True)

    variables = "\n".join(f"  {name}: {what} (default {default})" for name, default, what in describe_settings())
    command = commands.add_parser(
        "serve",
        help="load the weights, warm up, serve",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=f"Load the weights, warm up, serve. Set by environment variables:\n{variables}",
    )
    command.set_defaults(command=_serve)

    keys = commands.add_parser("keys", help="make, list and revoke API keys, in the file GLIOSERVE_KEYS")
    actions = keys.add_subparsers(required=True)
    command = actions.add_parser("add", help="make a key and print it")
    command.set_defaults(command=_add_key)
    command.add_argument("name", metavar="NAME", help="whom it is for")
    command.add_argument("--scope", type=Scope, choices=list(Scope), action="append", help="segment if not given")
    command = actions.add_parser("list", help="list all keys, revoked ones too")
    command.set_defaults(command=_list_keys)
    command = actions.add_parser("revoke", help="make a key good for nothing, at once")
    command.set_defaults(command=_revoke_key)
    command.add_argument("name", metavar="NAME", help="its name or its id")

    actions = commands.add_parser("audit", help="examine the audit").add_subparsers(required=True)
    command = actions.add_parser("verify", help="follow the hashes of its lines; status 1 where they break")
    command.set_defaults(command=_verify_audit)
    command.add_argument("file", type=Path, nargs="?", metavar="FILE", help="that of the settings if not given")
    command.add_argument("--noted", metavar="HASH", help="the hash of a last line, noted earlier, that must be there")

    command = commands.add_parser("health", help="ask the running service whether it is alive; status 1 if not")
    command.set_defaults(command=_health)

    command = commands.add_parser(
        "doctor", help="examine card, driver, weights, memory, spool and keys; status 1 where something is to mend"
    )
    command.set_defaults(command=_doctor)

    command = commands.add_parser("selftest", help="segment a synthetic case and compare with the recorded answer")
    command.set_defaults(command=_selftest)
    command.add_argument("--record", action="store_true", help="write the answer of this machine beside the weights")

    command = commands.add_parser("bench", help="measure time and memory of a case on this machine")
    command.set_defaults(command=_bench)
    command.add_argument("case", type=Path, nargs="?", metavar="CASE.zip", help="a synthetic one if not given")
    command.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")

    command = commands.add_parser("phantom", help="write a synthetic case as a zip, to try the service with")
    command.set_defaults(command=_phantom)
    command.add_argument("out", type=Path)

    command = commands.add_parser("openapi", help="write the OpenAPI document")
    command.set_defaults(command=_openapi)
    command.add_argument("out", type=Path)
    return parser


if __name__ == "__main__":
    main()
