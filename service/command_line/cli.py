"""The glioserve command: its subcommands and options, and how errors end it."""

import argparse
import logging
import sys
from collections.abc import Iterable
from pathlib import Path

from service.bridge.settings import BridgeSettings
from service.command_line import commands, servers
from service.command_line.segment.arguments import add_segment
from service.command_line.segment.command import segment
from service.errors import BenchError, HealthError, RequestError, SelftestError, SettingsError
from service.imaging.errors import InputError
from service.networks.errors import WeightsError
from service.security.keys import Scope
from service.settings import BRIDGE_PREFIX, describe_settings

EXPECTED_ERRORS = BenchError, HealthError, InputError, RequestError, SelftestError, SettingsError, WeightsError
INTERRUPTED = 130  # the exit status that shells use for Ctrl-C


def main() -> None:
    """Run one subcommand."""
    arguments = _parser().parse_args()
    logging.getLogger("torch.utils.flop_counter").setLevel(logging.ERROR)  # warns about triton, which is not needed
    try:
        arguments.run(arguments)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except EXPECTED_ERRORS as error:  # one line instead of a traceback
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"{error.filename}: {error.strerror}" if error.filename else str(error))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="glioserve", description="Brain tumour segmentation as a web service")
    subcommands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_servers(subcommands)
    add_segment(subcommands).set_defaults(run=segment)
    _add_keys(subcommands)
    _add_audit(subcommands)
    _add_checks(subcommands)
    _add_tools(subcommands)
    return parser


def _add_servers(subcommands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    serve = _add_documented(subcommands, "serve", "load the weights, warm up and serve", describe_settings())
    serve.set_defaults(run=servers.serve)
    what = "connect a DICOM archive (PACS): receive studies, have them segmented, return the results"
    bridge = _add_documented(subcommands, "bridge", what, describe_settings(BridgeSettings, BRIDGE_PREFIX))
    bridge.set_defaults(run=servers.bridge)


def _add_documented(
    subcommands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    what: str,
    settings: Iterable[tuple[str, str, str]],
) -> argparse.ArgumentParser:
    """Add a subcommand whose help lists its environment variables."""
    variables = "\n".join(
        f"  {variable}: {description}" + (f" (default: {default})" if default else "")
        for variable, default, description in settings
    )
    return subcommands.add_parser(
        name,
        help=what,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=f"{what[0].upper()}{what[1:]}. Environment variables:\n{variables}",
    )


def _add_keys(subcommands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    keys = subcommands.add_parser("keys", help="create, list and revoke API keys, in the file GLIOSERVE_KEYS_FILE")
    actions = keys.add_subparsers(required=True, metavar="ACTION")
    add = actions.add_parser("add", help="create an API key and print it")
    add.set_defaults(run=commands.add_key)
    add.add_argument("name", metavar="NAME", help="who it is for")
    add.add_argument("--scope", type=Scope, choices=list(Scope), action="append", help="default: segment; repeatable")
    actions.add_parser("list", help="list all keys, including revoked ones").set_defaults(run=commands.list_keys)
    revoke = actions.add_parser("revoke", help="revoke a key with immediate effect")
    revoke.set_defaults(run=commands.revoke_key)
    revoke.add_argument("name", metavar="NAME", help="its name or id")


def _add_audit(subcommands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    actions = subcommands.add_parser("audit", help="verify the audit log").add_subparsers(
        required=True, metavar="ACTION"
    )
    verify = actions.add_parser("verify", help="check the hash chain of the audit log; exit status 1 if it is broken")
    verify.set_defaults(run=commands.verify_audit)
    verify.add_argument("file", type=Path, nargs="?", metavar="FILE", help="default: the audit log of the service")
    verify.add_argument("--noted", metavar="HASH", help="hash that an earlier run printed; the log must contain it")


def _add_checks(subcommands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    health = subcommands.add_parser("health", help="check that the service is alive; exit status 1 if not")
    health.set_defaults(run=commands.health)
    health.add_argument("--bridge", action="store_true", help="check the bridge instead")
    doctor = subcommands.add_parser(
        "doctor", help="check GPU, driver, weights, memory, spool and keys; exit status 1 if something must be fixed"
    )
    doctor.set_defaults(run=commands.doctor)
    selftest = subcommands.add_parser("selftest", help="segment a synthetic case and compare it with the record")
    selftest.set_defaults(run=commands.selftest)
    selftest.add_argument("--record", action="store_true", help="write this machine's label map beside the weights")


def _add_tools(subcommands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    bench = subcommands.add_parser("bench", help="measure the time and memory of a case on this machine")
    bench.set_defaults(run=commands.bench)
    bench.add_argument("case", type=Path, nargs="?", metavar="CASE.zip", help="default: a synthetic case")
    bench.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to this file")
    phantom = subcommands.add_parser("phantom", help="write a synthetic case as a zip, to try the service with")
    phantom.set_defaults(run=commands.phantom)
    phantom.add_argument("out", type=Path, metavar="CASE.zip", help="- for standard output")
    openapi = subcommands.add_parser("openapi", help="write the OpenAPI document")
    openapi.set_defaults(run=commands.openapi)
    openapi.add_argument("out", type=Path)


if __name__ == "__main__":
    main()
