import numpy as np
import pytest

from service.imaging.case import GROUND_TRUTH, Case, Modality, check_distinct, check_one_grid
from service.imaging.errors import GeometryError, ModalityError
from service.imaging.names import assign_roles, check_complete, is_image_name, role_of
from service.imaging.nifti import encode_nifti
from service.imaging.reading import read_case
from service.imaging.volume import Volume

ROLES = [*Modality, GROUND_TRUTH]


@pytest.mark.parametrize(
    "names",
    [
        [f"BraTS20_Training_001_{name}.nii.gz" for name in ("t1", "t1ce", "t2", "flair", "seg")],
        [f"a/b/c/BraTS-GLI-00000-000-{name}.nii.gz" for name in ("t1n", "t1c", "t2w", "t2f", "seg")],
        [f"{name}.nii" for name in ("T1", "T1GD", "T2", "FLAIR", "SEG")],
        [f"folder\\CASE_{name}.NII.GZ" for name in ("T1", "T1CE", "T2", "FLAIR", "SEG")],
    ],
    ids=["2020", "2023", "plain", "upper"],
)
def test_file_names_of_every_brats_year_are_recognised(names):
    assert [role_of(name) for name in names] == ROLES
    assert list(assign_roles(names)) == ROLES


def test_other_file_names_are_ignored():
    assert role_of("case_pred.nii.gz") is None
    assert not is_image_name("readme.txt")
    assert not is_image_name("case_t1.nii/")
    assert not is_image_name("__MACOSX/case/._case_t1.nii.gz")


def test_a_missing_modality_is_named_with_those_found():
    images = images_with()
    case = Case({name: images[name] for name in (Modality.T1, Modality.T2)}, ground_truth=images[Modality.T1])
    assert case.missing == (Modality.T1GD, Modality.FLAIR)
    with pytest.raises(
        ModalityError, match=r"^T1Gd, FLAIR: missing; found T1, T2, ground truth\. The last .* A hint\.$"
    ):
        check_complete(case, hint=" A hint.")


def test_files_without_any_modality_are_an_error():
    with pytest.raises(ModalityError, match=r"^T1, T1Gd, T2, FLAIR: missing; found ground truth\."):
        assign_roles(["seg.nii", "scan.nii"])
    with pytest.raises(ModalityError, match=r"found none of the modalities\."):
        assign_roles([])


def test_a_case_is_read_without_its_missing_modalities():
    files = files_with(Volume(np.ones((3, 4, 5), np.uint8), np.eye(4)))
    case = read_case({name: files[name] for name in ("flair.nii", "t1ce.nii")})
    assert list(case.images) == [Modality.T1GD, Modality.FLAIR]
    assert case.grid.shape == (3, 4, 5)


def test_grids_are_compared_with_the_first_modality_present():
    files = files_with(Volume(np.ones((3, 4, 6), np.uint8), np.eye(4)))
    del files["t1.nii"]
    with pytest.raises(GeometryError, match=r"FLAIR: expected the shape of T1Gd, \(3, 4, 5\), found \(3, 4, 6\)"):
        check_one_grid(read_case(files))


def test_a_duplicate_modality_is_named():
    with pytest.raises(ModalityError, match="T1Gd: expected one volume, found 2"):
        assign_roles(["x_t1.nii", "x_t1ce.nii", "y-t1c.nii.gz", "x_t2.nii", "x_flair.nii"])


def files_with(flair: Volume) -> dict[str, bytes]:
    """The files of a small case with this FLAIR image."""
    volume = Volume(np.ones((3, 4, 5), np.uint8), np.eye(4))
    volumes = {"t1.nii": volume, "t1ce.nii": volume, "t2.nii": volume, "flair.nii": flair}
    return {name: encode_nifti(image) for name, image in volumes.items()}


def test_different_shapes_are_an_error_with_both_values():
    flair = Volume(np.ones((3, 4, 6), np.uint8), np.eye(4))
    with pytest.raises(GeometryError, match=r"FLAIR.*\(3, 4, 5\).*\(3, 4, 6\)"):
        check_one_grid(read_case(files_with(flair)))


def test_different_affines_are_an_error_with_both_values():
    flair = Volume(np.ones((3, 4, 5), np.uint8), np.diag([1, 1, 2, 1]))
    with pytest.raises(GeometryError, match=r"FLAIR.*1\.0, 0\.0\], .*2\.0, 0\.0\]"):
        check_one_grid(read_case(files_with(flair)))


def test_the_ground_truth_is_optional(phantom_files):
    files = {name: data for name, data in phantom_files.items() if role_of(name) != GROUND_TRUTH}
    assert read_case(files).ground_truth is None
    assert read_case(phantom_files).ground_truth is not None


def images_with(**voxels: np.ndarray) -> dict[Modality, Volume]:
    """Four different images, some of them replaced by these voxels."""
    different = {name: np.full((3, 4, 5), number, np.int16) for number, name in enumerate(Modality)}
    return {name: Volume(values, np.eye(4)) for name, values in (different | voxels).items()}


def test_four_different_images_are_accepted():
    check_distinct(images_with())


def test_the_same_image_as_two_modalities_is_an_error_that_names_both():
    ones = np.ones((3, 4, 5), np.int16)  # the T1Gd image
    with pytest.raises(ModalityError, match=r"^T1Gd and FLAIR: expected two different images, found the same one"):
        check_distinct(images_with(FLAIR=ones))
    with pytest.raises(ModalityError, match=r"^T1Gd and T2: "):
        check_distinct(images_with(T2=ones.astype(np.float32)))  # as another data type


def test_images_that_differ_in_one_voxel_are_accepted():
    almost = np.ones((3, 4, 5), np.int16)
    almost[2, 3, 4] = 2
    check_distinct(images_with(T2=almost))
