"""What `glioserve segment` does."""

import argparse
import sys

from service.command_line.segment.arguments import UsageError

FAILED, WRONG_USAGE = 1, 2  # exit statuses


def segment(arguments: argparse.Namespace) -> None:
    """Segment cases; exit with a status that says how it ended."""
    try:
        from service.command_line.segment.run import run
    except ImportError as error:
        sys.exit(f"More packages are needed, which `pip install 'glioserve[serve,client]'` installs: {error}.")
    try:
        if not run(arguments):
            sys.exit(FAILED)
    except UsageError as error:
        print(f"glioserve segment: {error}", file=sys.stderr)
        sys.exit(WRONG_USAGE)
