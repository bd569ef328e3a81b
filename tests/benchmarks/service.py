"""`glioserve bench` against the limits of docs/performance.md, on a real case if one is present.

PYTHONPATH=tests python -m benchmarks.service OUT.json
"""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from support.real_cases import BRATS

from service.command_line.bench.measurement import measure
from service.command_line.bench.table import render
from service.imaging.phantom import encode_phantom, make_phantom, zip_files
from service.settings import read_settings

CASE = BRATS / "zips" / "BraTS2021_01660.zip"
MAX_SECONDS = 2.0  # on two cores with instructions for bfloat16 or INT8
MIN_RATIO = 100
MAX_RESIDENT_MIB = 1024


def main() -> None:
    """Measure, print the table, write the JSON, and fail if a limit is exceeded."""
    case = CASE.read_bytes() if CASE.exists() else zip_files(encode_phantom(make_phantom()))
    measured = measure(case, read_settings(os.environ))
    print(render(measured))
    Path(sys.argv[1]).write_text(json.dumps(asdict(measured), indent=2) + "\n")
    exceeded = {
        f"a case within {MAX_SECONDS} s": measured.end_to_end_s > MAX_SECONDS,
        f"at least {MIN_RATIO} times as fast as the paper-size networks": measured.ratio < MIN_RATIO,
        f"at most {MAX_RESIDENT_MIB} MiB resident with one client": measured.peak_rss_mib > MAX_RESIDENT_MIB,
    }
    for limit, is_exceeded in exceeded.items():
        print(f"{'FAILED' if is_exceeded else 'passed':8}{limit}")
    sys.exit(any(exceeded.values()))


if __name__ == "__main__":
    main()
