import json

import pytest

from model_training.data.split import SUBSETS, draw_folds, draw_split, patient_of, read_split, write_split

CASES = {f"BraTS20_Training_{number:03}": number % 10 != 0 for number in range(1, 370)}


def test_a_random_split_has_the_sizes_of_the_paper():
    split = draw_split(CASES, seed=1)
    assert [len(split[subset]) for subset in SUBSETS] == [295, 37, 37]
    assert sorted(name for names in split.values() for name in names) == sorted(CASES)


def test_a_random_split_is_stratified_by_enhancing_tumour():
    split = draw_split(CASES, seed=1)
    assert [sum(not CASES[name] for name in split[subset]) for subset in SUBSETS] == [28, 4, 4]


def test_a_random_split_depends_on_the_seed_only():
    assert draw_split(CASES, seed=1) == draw_split(dict(reversed(CASES.items())), seed=1)
    assert draw_split(CASES, seed=1) != draw_split(CASES, seed=2)


def test_all_scans_of_a_patient_are_in_the_same_subset():
    scans = {f"BraTS-GLI-{patient:05}-{scan:03}": True for patient in range(50) for scan in range(3)}
    split = draw_split(scans, seed=1)
    patients = {subset: {patient_of(name) for name in split[subset]} for subset in SUBSETS}
    assert [len(patients[subset]) for subset in SUBSETS] == [40, 5, 5]
    assert len(set.union(*patients.values())) == 50


def test_folds_test_each_case_once_and_never_train_on_it():
    folds = draw_folds(CASES, 5, seed=1)
    assert sorted(name for fold in folds for name in fold["test"]) == sorted(CASES)
    for fold in folds:
        assert sorted(fold["train"] + fold["test"]) == sorted(CASES)
        assert fold["validation"] == []


def test_folds_keep_a_patient_together_and_are_stratified():
    scans = {f"BraTS-GLI-{patient:05}-{scan:03}": patient >= 10 for patient in range(40) for scan in range(2)}
    for fold in draw_folds(scans, 5, seed=1):
        assert not {patient_of(name) for name in fold["train"]} & {patient_of(name) for name in fold["test"]}
        assert len(fold["test"]) == 16
        assert sum(not scans[name] for name in fold["test"]) == 4


@pytest.mark.parametrize("count", [1, 3])
def test_a_number_of_folds_that_the_patients_do_not_allow_is_rejected(count):
    with pytest.raises(ValueError, match=f"expected 2 to 2 .*found {count}"):
        draw_folds({"one": True, "two": False}, count, seed=1)


def test_the_scan_number_is_removed_from_names_of_brats_2023_only():
    assert patient_of("BraTS20_Training_001") == "BraTS20_Training_001"
    assert patient_of("Brats18_TCIA01_425_1") == "Brats18_TCIA01_425_1"
    assert patient_of("BraTS-GLI-00002-001") == "BraTS-GLI-00002"


def test_a_split_is_read_as_it_was_written(tmp_path):
    split = draw_split(CASES, seed=1)
    write_split(tmp_path / "split.json", split)
    assert read_split(tmp_path / "split.json") == split


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ({"train": []}, "expected JSON with the lists train, validation, test; validation: Field required"),
        ({"train": ["one"], "validation": ["one"], "test": []}, "found duplicates: one"),
        ([], "expected JSON with the lists"),
    ],
)
def test_a_split_with_a_missing_list_or_a_duplicate_case_is_rejected(split, message, tmp_path):
    (tmp_path / "split.json").write_text(json.dumps(split))
    with pytest.raises(ValueError, match=message):
        read_split(tmp_path / "split.json")
