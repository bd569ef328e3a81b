"""The command line: its words, and how each complaint ends."""

import argparse
import logging
import sys
from pathlib import Path

from service import commands
from service.errors import BenchError, HealthError, RequestError, SelftestError, SettingsError
from service.keys import Scope
from service.segmentation.errors import InputError, WeightsError
from service.settings import describe_settings

COMPLAINTS = BenchError, HealthError, InputError, RequestError, SelftestError, SettingsError, WeightsError
INTERRUPTED = 130  # the status by which shells know Ctrl-C


def main() -> None:
    """Run one command."""
    arguments = _parser().parse_args()
    logging.getLogger("torch.utils.flop_counter").setLevel(logging.ERROR)  # it misses triton, which nothing here needs
    try:
        arguments.command(arguments)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except COMPLAINTS as error:  # in a line, not in a page
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"{error.filename}: {error.strerror}" if error.filename else str(error))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="glioserve", description="Brain tumour segmentation as a web service")
    words = parser.add_subparsers(required=True)

    variables = "\n".join(f"  {name}: {what} (default {default})" for name, default, what in describe_settings())
    command = words.add_parser(
        "serve",
        help="load the weights, warm up, serve",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=f"Load the weights, warm up, serve. Set by environment variables:\n{variables}",
    )
    command.set_defaults(command=commands.serve)

    keys = words.add_parser("keys", help="make, list and revoke API keys, in the file GLIOSERVE_KEYS")
    actions = keys.add_subparsers(required=True)
    command = actions.add_parser("add", help="make a key and print it")
    command.set_defaults(command=commands.add_key)
    command.add_argument("name", metavar="NAME", help="whom it is for")
    command.add_argument("--scope", type=Scope, choices=list(Scope), action="append", help="segment if not given")
    command = actions.add_parser("list", help="list all keys, revoked ones too")
    command.set_defaults(command=commands.list_keys)
    command = actions.add_parser("revoke", help="make a key good for nothing, at once")
    command.set_defaults(command=commands.revoke_key)
    command.add_argument("name", metavar="NAME", help="its name or its id")

    actions = words.add_parser("audit", help="examine the audit").add_subparsers(required=True)
    command = actions.add_parser("verify", help="follow the hashes of its lines; status 1 where they break")
    command.set_defaults(command=commands.verify_audit)
    command.add_argument("file", type=Path, nargs="?", metavar="FILE", help="that of the settings if not given")
    command.add_argument("--noted", metavar="HASH", help="the hash of a last line, noted earlier, that must be there")

    command = words.add_parser("health", help="ask the running service whether it is alive; status 1 if not")
    command.set_defaults(command=commands.health)

    command = words.add_parser(
        "doctor", help="examine card, driver, weights, memory, spool and keys; status 1 where something is to mend"
    )
    command.set_defaults(command=commands.doctor)

    command = words.add_parser("selftest", help="segment a synthetic case and compare with the recorded answer")
    command.set_defaults(command=commands.selftest)
    command.add_argument("--record", action="store_true", help="write the answer of this machine beside the weights")

    command = words.add_parser("bench", help="measure time and memory of a case on this machine")
    command.set_defaults(command=commands.bench)
    command.add_argument("case", type=Path, nargs="?", metavar="CASE.zip", help="a synthetic one if not given")
    command.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")

    command = words.add_parser("phantom", help="write a synthetic case as a zip, to try the service with")
    command.set_defaults(command=commands.phantom)
    command.add_argument("out", type=Path, metavar="CASE.zip", help="- for standard output")

    command = words.add_parser("openapi", help="write the OpenAPI document")
    command.set_defaults(command=commands.openapi)
    command.add_argument("out", type=Path)
    return parser


if __name__ == "__main__":
    main()
