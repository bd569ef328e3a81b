"""The command line: glioserve serve, phantom, openapi."""

import argparse
import json
import os
import sys
from pathlib import Path

import uvicorn

from service.app import create_app
from service.device import choose_device
from service.errors import SettingsError
from service.phantom import encode_phantom, make_phantom, zip_files
from service.segmentation.errors import WeightsError
from service.segmentation.weights import load_model
from service.settings import PREFIX, Settings, read_settings

SHUTDOWN_SECONDS = 60  # for requests that run or wait; a client that only keeps its connection open gets no more


def main() -> None:
    """Run one command."""
    arguments = _parser().parse_args()
    arguments.command(arguments)


def _serve(_: argparse.Namespace) -> None:
    try:
        settings = read_settings(os.environ)
        load_model(settings.weights, choose_device(settings.device))  # fails here in a line, in the server in a page
    except (SettingsError, WeightsError) as error:
        sys.exit(str(error))
    uvicorn.run(
        create_app(settings), host=settings.host, port=settings.port, timeout_graceful_shutdown=SHUTDOWN_SECONDS
    )


def _phantom(arguments: argparse.Namespace) -> None:
    arguments.out.write_bytes(zip_files(encode_phantom(make_phantom())))
    print(f"wrote {arguments.out}: a synthetic case with ground truth")


def _openapi(arguments: argparse.Namespace) -> None:
    arguments.out.write_text(json.dumps(create_app(Settings()).openapi(), indent=2) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="glioserve", description="Brain tumour segmentation as a web service")
    commands = parser.add_subparsers(required=True)

    variables = "\n".join(
        f"  {PREFIX}{name.upper()}: {field.description} (default {field.default})"
        for name, field in Settings.model_fields.items()
    )
    command = commands.add_parser(
        "serve",
        help="load the weights, warm up, serve",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=f"Load the weights, warm up, serve. Set by environment variables:\n{variables}",
    )
    command.set_defaults(command=_serve)

    command = commands.add_parser("phantom", help="write a synthetic case as a zip, to try the service with")
    command.set_defaults(command=_phantom)
    command.add_argument("out", type=Path)

    command = commands.add_parser("openapi", help="write the OpenAPI document")
    command.set_defaults(command=_openapi)
    command.add_argument("out", type=Path)
    return parser


if __name__ == "__main__":
    main()
