"""Split of the cases into training, validation and test: drawn by patient with a seed, or read from a file."""

import json
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from random import Random

from pydantic import ValidationError

from model_training.strict_model import StrictModel, describe_errors

SUBSETS = ("train", "validation", "test")

Split = Mapping[str, list[str]]  # case names by subset

HELD_OUT_FRACTION = 0.1  # for validation, and again for test (section III.A)


class _SplitFile(StrictModel):
    train: list[str]
    validation: list[str]
    test: list[str]


def read_split(path: Path) -> dict[str, list[str]]:
    """Read a split from a JSON file: an object with the lists train, validation and test.

    Raises ValueError if a list is missing or a case is listed twice.
    """
    try:
        split = _SplitFile.model_validate_json(path.read_text()).model_dump()
    except ValidationError as error:
        expected = f"expected JSON with the lists {', '.join(SUBSETS)}"
        raise ValueError(f"{path}: {expected}; {describe_errors(error)}") from error
    names = [name for subset in SUBSETS for name in split[subset]]
    if duplicates := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{path}: expected every case once, found duplicates: {', '.join(duplicates)}")
    return split


def write_split(path: Path, split: Split) -> None:
    """Write a split as a JSON file for `read_split`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({subset: split[subset] for subset in SUBSETS}, indent=2) + "\n")


def draw_split(has_enhancing: Mapping[str, bool], seed: int) -> dict[str, list[str]]:
    """Draw a random split: 80 % train, 10 % validation, 10 % test.

    `has_enhancing` states for every case whether it contains enhancing tumour. All cases of a patient go into the same
    subset. The split is stratified: patients with and without enhancing tumour are split separately.
    """
    split: dict[str, list[str]] = {subset: [] for subset in SUBSETS}
    for patients in _shuffled_strata(has_enhancing, seed):
        held_out = round(HELD_OUT_FRACTION * len(patients))
        parts = patients[2 * held_out :], patients[:held_out], patients[held_out : 2 * held_out]
        for subset, part in zip(SUBSETS, parts, strict=True):
            split[subset] += [name for cases in part for name in cases]
    return {subset: sorted(names) for subset, names in split.items()}


def draw_folds(has_enhancing: Mapping[str, bool], count: int, seed: int) -> list[dict[str, list[str]]]:
    """Draw the splits of a cross-validation: each case is a test case once, and there are no validation cases.

    As in `draw_split`, all cases of a patient stay together, and the folds are stratified by enhancing tumour.
    Raises ValueError if there are fewer than two folds, or fewer patients than folds.
    """
    patients = [cases for stratum in _shuffled_strata(has_enhancing, seed) for cases in stratum]
    if not 2 <= count <= len(patients):
        raise ValueError(f"folds: expected 2 to {len(patients)} (patients), found {count}")
    tests = [sorted(name for cases in patients[fold::count] for name in cases) for fold in range(count)]
    return [{"train": sorted(set(has_enhancing) - set(test)), "validation": [], "test": test} for test in tests]


def _shuffled_strata(has_enhancing: Mapping[str, bool], seed: int) -> list[list[list[str]]]:
    """The cases of each patient, in random order: first those without enhancing tumour, then those with it."""
    cases = defaultdict(list)
    for name in sorted(has_enhancing):
        cases[patient_of(name)].append(name)
    strata = defaultdict(list)
    for names in cases.values():
        strata[any(has_enhancing[name] for name in names)].append(names)
    random = Random(seed)
    for _, patients in sorted(strata.items()):
        random.shuffle(patients)
    return [patients for _, patients in sorted(strata.items())]


def patient_of(name: str) -> str:
    """Patient of a case. Since BraTS 2023, names such as BraTS-GLI-00002-001 end with the number of the scan."""
    return re.sub(r"^(BraTS-[A-Z]+-\d+)-\d+$", r"\1", name)
