"""Real cases, used by tests and `make evaluate` if they are present beside the checkout.

PYTHONPATH=tests python -m support.real_cases FOLDER
"""

import shutil
import subprocess
import sys
from pathlib import Path

from model_training.data.split import read_split

SHARED = Path(__file__).parents[3] / "shared"
BRATS, RAW = SHARED / "brats", SHARED / "raw"  # a raw clinical scan, and the same scan prepared


def main() -> None:
    """Unpack the validation and test cases and their split into a folder."""
    out = Path(sys.argv[1])
    if not BRATS.is_dir():
        sys.exit("No real cases beside the checkout: give DATA=folder of BraTS cases and SPLIT=split.json.")
    split = read_split(BRATS / "split.json")
    partial = out.with_name(out.name + ".partial")
    cases = split["validation"] + split["test"]
    subprocess.run([sys.executable, BRATS / "unpack", partial, *cases], check=True)
    shutil.copy(BRATS / "split.json", partial)
    partial.rename(out)


if __name__ == "__main__":
    main()
