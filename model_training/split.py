"""Which cases train, which choose, which test: drawn by patient with a seed, or read from a file."""

import json
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from random import Random

from pydantic import ValidationError

from model_training.table import Table, problems

SUBSETS = ("train", "validation", "test")

Split = Mapping[str, list[str]]  # case names by subset

HELD_OUT_SHARE = 0.1  # for validation, and as much for test (section III.A)


class _SplitFile(Table):
    train: list[str]
    validation: list[str]
    test: list[str]


def read_split(path: Path) -> dict[str, list[str]]:
    """The split in a JSON file: an object with the lists train, validation and test.

    Raises ValueError where a list is missing, or a case is in two.
    """
    try:
        split = _SplitFile.model_validate_json(path.read_text()).model_dump()
    except ValidationError as error:
        raise ValueError(f"{path}: expected JSON with the lists {', '.join(SUBSETS)}; {problems(error)}") from error
    names = [name for subset in SUBSETS for name in split[subset]]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{path}: expected every case once, found twice: {', '.join(twice)}")
    return split


def write_split(path: Path, split: Split) -> None:
    """The split as a JSON file that `read_split` reads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({subset: split[subset] for subset in SUBSETS}, indent=2) + "\n")


def draw_split(has_enhancing: Mapping[str, bool], seed: int) -> dict[str, list[str]]:
    """A random split, 80 % train, 10 % validation and 10 % test, of cases told whether they have enhancing tumour.

    All cases of a patient fall into one subset, and patients with and without enhancing tumour are shared out alike.
    """
    cases = defaultdict(list)
    for name in sorted(has_enhancing):
        cases[patient_of(name)].append(name)
    strata = defaultdict(list)
    for patient, names in cases.items():
        strata[any(has_enhancing[name] for name in names)].append(patient)

    split: dict[str, list[str]] = {subset: [] for subset in SUBSETS}
    random = Random(seed)
    for _, patients in sorted(strata.items()):
        random.shuffle(patients)
        held_out = round(HELD_OUT_SHARE * len(patients))
        parts = patients[2 * held_out :], patients[:held_out], patients[held_out : 2 * held_out]
        for subset, part in zip(SUBSETS, parts, strict=True):
            split[subset] += [name for patient in part for name in cases[patient]]
    return {subset: sorted(names) for subset, names in split.items()}


def patient_of(name: str) -> str:
    """The patient of a case: from BraTS 2023 on, names such as BraTS-GLI-00002-001 end in the number of the scan."""
    return re.sub(r"^(BraTS-[A-Z]+-\d+)-\d+$", r"\1", name)
