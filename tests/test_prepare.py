import shutil

import numpy as np
import pytest
from tiny import FIRST_SLICES

from model_training.data.prepare import Content, find_cases, open_cache, open_cases, prepare
from service.imaging.case import GROUND_TRUTH, Modality
from service.imaging.formats import decode
from service.imaging.labels import OEDEMA
from service.imaging.names import role_of
from service.imaging.nifti import encode_nifti
from service.imaging.volume import Volume


def test_a_damaged_case_is_skipped_with_a_reason_and_the_others_are_prepared(tiny_data, tmp_path):
    skipped = prepare(tiny_data, ["damaged", "one", "absent"], tmp_path)
    assert sorted(skipped) == ["absent", "damaged"]
    assert skipped["damaged"].startswith("T1: expected a whole image")
    assert [case.name for case in open_cases(tmp_path)] == ["one"]
    subsets = open_cache(tmp_path, {"train": ["damaged", "one"], "validation": [], "test": []})
    assert [case.name for case in subsets["train"]] == ["one"]


def test_all_cases_are_prepared_by_default(tiny_data, tmp_path):
    assert list(prepare(tiny_data, None, tmp_path)) == ["damaged"]
    assert [case.name for case in open_cases(tmp_path)] == sorted(FIRST_SLICES)


def test_a_cached_case_has_normalised_slices_and_their_labels(tiny_cases):
    [one, _] = tiny_cases["train"]
    assert one.intensities.shape == (14, 4, *one.labels.shape[1:])
    assert isinstance(one.intensities, np.memmap)
    brain = one.intensities[:, 0] != 0
    for modality in range(len(Modality)):
        values = one.intensities[:, modality][brain].astype(np.float64)
        assert values.mean() == pytest.approx(0, abs=0.01)
        assert values.std() == pytest.approx(1, abs=0.01)
    flair = one.intensities[:, list(Modality).index(Modality.FLAIR)]
    assert flair[one.labels == OEDEMA].mean() > 1  # oedema is bright in FLAIR
    assert one.has_enhancing
    assert np.array_equal(one.contents == Content.TUMOUR, one.labels.any(axis=(1, 2)))


@pytest.mark.parametrize("role", [Modality.T2, GROUND_TRUTH])
def test_a_case_on_different_grids_is_skipped(role, tiny_data, tmp_path):
    folder = shutil.copytree(tiny_data / "one", tmp_path / "data" / "one")
    [path] = [path for path in folder.iterdir() if role_of(path.name) == role]
    image = decode(path.read_bytes(), role)
    path.write_bytes(encode_nifti(Volume(image.voxels[1:], image.affine)))
    skipped = prepare(tmp_path / "data", None, tmp_path / "cache")
    assert skipped["one"].startswith(f"{role}: expected the shape of T1Gd")


def test_cached_cases_are_not_prepared_again(tiny_data, tmp_path):
    prepare(tiny_data, ["one"], tmp_path)
    before = (tmp_path / "one" / "labels.npy").stat()
    assert prepare(tiny_data, ["one"], tmp_path) == {}
    assert (tmp_path / "one" / "labels.npy").stat() == before


def test_a_case_cached_by_an_earlier_version_is_rejected_until_it_is_prepared_again(tiny_data, tmp_path):
    prepare(tiny_data, ["one"], tmp_path)
    expected = np.array(open_cases(tmp_path)[0].intensities)
    (tmp_path / "one" / "intensities.npy").rename(tmp_path / "one" / "scores.npy")
    with pytest.raises(ValueError, match=r"found no intensities.npy; run prepare again"):
        open_cases(tmp_path)
    assert prepare(tiny_data, ["one"], tmp_path) == {}
    assert np.array_equal(open_cases(tmp_path)[0].intensities, expected)
    assert not (tmp_path / "one" / "scores.npy").exists()


def test_the_original_images_are_never_removed_even_if_the_cache_is_their_folder(tiny_data, tmp_path):
    shutil.copytree(tiny_data / "one", tmp_path / "one")
    before = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    assert list(prepare(tmp_path, None, tmp_path)) == ["one"]
    assert {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()} == before


def test_cases_are_found_through_symbolic_links(tiny_data, tmp_path):
    (tmp_path / "linked").symlink_to(tiny_data / "one")
    assert list(find_cases(tmp_path)) == ["linked"]


def test_cases_are_found_in_nested_folders(tiny_data, tmp_path):
    shutil.copytree(tiny_data / "one", tmp_path / "HGG" / "one")
    shutil.copytree(tiny_data / "two", tmp_path / "LGG" / "two")
    assert sorted(find_cases(tmp_path)) == ["one", "two"]


def test_two_cases_with_the_same_name_are_rejected(tiny_data, tmp_path):
    for grade in ("HGG", "LGG"):
        shutil.copytree(tiny_data / "one", tmp_path / grade / "one")
    with pytest.raises(ValueError, match="found duplicates: one"):
        find_cases(tmp_path)


def test_a_folder_without_cases_is_rejected(tmp_path):
    with pytest.raises(ValueError, match="expected one folder with NIfTI files for each case, found none"):
        find_cases(tmp_path)
