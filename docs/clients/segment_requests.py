"""Segment a case with requests: python segment_requests.py CASE.zip RESULT.zip [URL]."""

import sys
from pathlib import Path

import requests


def main(case: str, result: str, url: str = "http://127.0.0.1:8000") -> None:
    """Send a case, and write the zip with label map and report."""
    with Path(case).open("rb") as body:  # sent from the disk, never in memory as a whole
        response = requests.post(f"{url}/segment", data=body, headers={"Content-Type": "application/zip"})
    if not response.ok:
        sys.exit(response.json()["detail"])
    Path(result).write_bytes(response.content)


if __name__ == "__main__":
    main(*sys.argv[1:])
