"""Log lines for machines: one JSON object a line, never with a file name or anything out of a header of an image."""

import json
import logging
import sys
from datetime import UTC, datetime

log = logging.getLogger("glioserve")

TALKATIVE = "nibabel.global", "python_multipart.multipart"
SILENT = logging.CRITICAL + 1


def start_logging() -> None:
    """Write the lines to standard output, where nothing else goes; uvicorn's own go to standard error."""
    log.addHandler(logging.StreamHandler(sys.stdout))
    log.setLevel(logging.INFO)
    log.propagate = False
    silence_libraries()


def silence_libraries() -> None:
    """Keep libraries from quoting what a client sent."""
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(SILENT)


def log_line(event: str, **facts: object) -> None:
    """Write a line about an event; facts that are None are left out."""
    known = {name: value for name, value in facts.items() if value is not None}
    log.info(json.dumps({"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event} | known))
