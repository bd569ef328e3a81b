"""Structured logging: one JSON object per line, never with a file name or a value of an image header."""

import json
import logging
import sys
from datetime import UTC, datetime

log = logging.getLogger("glioserve")


def start_logging() -> None:
    """Write the lines to standard output, which nothing else uses; uvicorn's log goes to standard error."""
    log.addHandler(logging.StreamHandler(sys.stdout))
    log.setLevel(logging.INFO)
    log.propagate = False


def log_line(event: str, **fields: object) -> None:
    """Log an event; fields that are None are omitted."""
    known = {name: value for name, value in fields.items() if value is not None}
    log.info(json.dumps({"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event} | known))
