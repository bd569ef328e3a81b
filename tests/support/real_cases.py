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
    partial = out.with_name(out.name + ".partial")
    unpack_evaluation_cases(partial)
    shutil.copy(BRATS / "split.json", partial)
    partial.rename(out)


def unpack_evaluation_cases(out: Path) -> list[str]:
    """Unpack the validation and test cases into a folder of one folder each, and return their names."""
    split = read_split(BRATS / "split.json")
    cases = split["validation"] + split["test"]
    subprocess.run([sys.executable, BRATS / "unpack", out, *cases], check=True)
    return cases


if __name__ == "__main__":
    main()
