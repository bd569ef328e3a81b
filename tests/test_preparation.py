"""Which cases are prepared, and what the pipeline makes of a preparation."""

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK
from support.raw_series import (
    AXIAL,
    SERIES,
    TUMOUR_CENTRE_RAS,
    Motion,
    make_raw_case,
    make_series,
    true_motion,
)

from service.imaging.case import BRAIN_MASK, GROUND_TRUTH, Modality, case_of
from service.imaging.errors import GeometryError, ModalityError
from service.imaging.formats import decode
from service.imaging.normalise import normalise
from service.imaging.phantom import make_phantom
from service.imaging.volume import Grid, Volume
from service.preparation.export import itk_transform
from service.preparation.preparation import Preparation, PreparedSeries
from service.preparation.raw import Prepare, reasons_to_prepare
from service.segmentation.checks import check_case
from service.segmentation.options import DEFAULT_OPTIONS, LabelGrid, Options
from service.segmentation.pipeline import Segmentation, finish, predict, prepare


@pytest.fixture(scope="module")
def raw():
    return make_raw_case()


def test_a_prepared_case_has_no_reason_to_be_prepared(phantom):
    assert reasons_to_prepare(case_of(phantom), Prepare.AUTO) == []
    assert reasons_to_prepare(case_of(phantom), Prepare.ALWAYS) == ["The request asked for it."]


def test_series_on_different_grids_with_a_skull_are_prepared(raw):
    case = case_of({role: volume for role, volume in raw.items() if role != BRAIN_MASK})
    grids, skull = reasons_to_prepare(case, Prepare.AUTO)
    assert grids == "Not on the grid of T1Gd: T1."
    assert skull == "More than 2500 ml are not zero, so that the skull was not removed: T1, T1Gd, T2, FLAIR."
    assert reasons_to_prepare(case, Prepare.NEVER) == []


def test_a_brain_mask_stands_in_for_the_removal_of_the_skull(raw):
    same_grid = {modality: make_series(modality, AXIAL, Motion()) for modality in Modality}
    assert len(reasons_to_prepare(case_of(same_grid), Prepare.AUTO)) == 1
    assert reasons_to_prepare(case_of(same_grid | {BRAIN_MASK: raw[BRAIN_MASK]}), Prepare.AUTO) == []


def test_a_series_that_covers_a_part_of_the_brain_is_normalised_over_that_part(raw):
    mask = raw[BRAIN_MASK]
    half = Volume(raw["T1Gd"].voxels[:, :, :16], AXIAL.affine)
    whole, part = (
        normalise({Modality.T1: image, Modality.T1GD: raw["T1Gd"]}, mask).intensities for image in (raw["T1Gd"], half)
    )
    assert whole.shape == part.shape
    assert not part[0, :, :, -60:].any()
    assert part[0][part[0] != 0].mean() == pytest.approx(0, abs=1e-4)
    assert np.array_equal(part[1], whole[1])


def known_preparation(raw, overlap: float = 0.95) -> Preparation:
    """The preparation with the true motions."""
    series = {
        modality: PreparedSeries(true_motion(modality), overlap) for modality in SERIES if modality != Modality.T1GD
    }
    return Preparation([], Modality.T1GD, series, raw[BRAIN_MASK])


def segment_raw(raw, model, options: Options = DEFAULT_OPTIONS) -> Segmentation:
    case = case_of(raw)
    check_case(case, model, options)
    return finish(predict(prepare(case, model, options, preparation=known_preparation(raw)), model), model, options)


def test_a_raw_case_is_segmented_on_the_grid_of_the_reference(raw, model):
    found = segment_raw(raw, model)
    assert found.labels.grid.coincides(AXIAL)
    assert min(scores.dice for scores in found.scores.values()) > 0.9
    assert found.preparation.reference == Modality.T1GD


@pytest.mark.parametrize(("modality", "least_dice"), [(Modality.T1, 0.9), (Modality.FLAIR, 0.8)])  # 2 and 5 mm slices
def test_the_label_map_may_be_on_the_grid_of_another_series(modality, least_dice, raw, model):
    grid, motion = SERIES[modality]
    where_it_lay = Grid(grid.shape, np.linalg.inv(motion.matrix) @ grid.affine)
    truth = Volume(make_phantom(where_it_lay)[GROUND_TRUTH].voxels, grid.affine)
    found = segment_raw(raw | {GROUND_TRUTH: truth}, model, Options(grid=LabelGrid[modality.name]))
    assert found.labels.grid.coincides(grid)
    assert min(scores.dice for scores in found.scores.values()) > least_dice


def test_the_label_map_may_be_on_the_working_grid(raw, model):
    found = segment_raw({role: raw[role] for role in raw if role != GROUND_TRUTH}, model, Options(grid="working"))
    assert found.labels.grid.spacing_mm == (1, 1, 1)
    assert found.labels.grid.orientation == "LPS"
    assert found.volumes_ml["WT"] == pytest.approx(segment_raw(raw, model).volumes_ml["WT"], rel=0.02)


def test_the_grid_of_a_missing_series_is_an_error(raw, model):
    case = case_of({role: volume for role, volume in raw.items() if role != Modality.T2})
    able = replace(model, checkpoints=[replace(c, card=replace(c.card, max_missing=2)) for c in model.checkpoints])
    with pytest.raises(ModalityError, match=r"^T2: expected the image whose grid the label map should have"):
        check_case(case, able, Options(allow_missing=True, grid=LabelGrid.T2))


def test_a_raw_case_that_is_not_prepared_is_rejected(raw, model):
    with pytest.raises(
        GeometryError, match=r"^T1: expected the shape of T1Gd, \(110, 110, 32\), found \(48, 110, 90\)"
    ):
        prepare(case_of(raw), model, Options(prepare=Prepare.NEVER))


@pytest.mark.parametrize("role", [GROUND_TRUTH, BRAIN_MASK])
def test_masks_of_a_raw_case_must_be_on_the_grid_of_the_reference(role, raw, model):
    elsewhere = Volume(raw[role].voxels[1:], AXIAL.affine)
    with pytest.raises(GeometryError, match=f"^{role}: expected the shape of T1Gd"):
        check_case(case_of(raw | {role: elsewhere}), model, DEFAULT_OPTIONS)


def test_prepared_files_show_the_same_place_as_the_reference(raw, model):
    found = segment_raw(raw, model, Options(with_prepared=True))
    assert set(found.prepared_files) == {
        "brain_mask.nii.gz",
        "ground_truth.nii.gz",
        *(f"prepared_{name}.nii.gz" for name in ("t1", "t1gd", "t2", "flair")),
        *(f"registration_{name}.tfm" for name in ("t1", "t2", "flair")),
    }
    truth = decode(found.prepared_files["ground_truth.nii.gz"], GROUND_TRUTH)
    assert truth.grid.coincides(AXIAL)
    assert (truth.voxels == raw[GROUND_TRUTH].voxels).all()
    brain = raw[BRAIN_MASK].voxels != 0
    phantom = make_phantom(AXIAL)
    for modality in (Modality.T1, Modality.T2, Modality.FLAIR):
        image = decode(found.prepared_files[f"prepared_{modality.lower()}.nii.gz"], modality)
        assert image.grid.coincides(AXIAL)
        assert not image.voxels[~brain].any()
        correlation = np.corrcoef(image.voxels[brain], phantom[modality].voxels[brain])[0, 1]
        assert correlation > 0.8  # 0.6 and less without registration


def test_itk_reads_a_transform(tmp_path):
    (tmp_path / "registration_t1.tfm").write_text(itk_transform(true_motion(Modality.T1)))
    transform = SimpleITK.ReadTransform(tmp_path / "registration_t1.tfm")
    on_series = np.linalg.inv(true_motion(Modality.T1)) @ [*TUMOUR_CENTRE_RAS, 1]
    found = transform.TransformPoint((TUMOUR_CENTRE_RAS * [-1, -1, 1]).tolist())
    assert np.allclose(found, on_series[:3] * [-1, -1, 1])


def test_a_doubtful_preparation_is_a_reason_for_review(raw):
    preparation = known_preparation(raw)
    assert 900 < preparation.brain_ml < 2000
    assert list(preparation.reasons_for_review()) == []
    reasons = list(known_preparation(raw, overlap=0.62).reasons_for_review())
    assert len(reasons) == 3
    assert reasons[0] == (
        "T1: its registration is doubtful; its brain and that of T1Gd overlap with a Dice of 0.62, less than 0.85."
    )
    tiny = Volume(np.ones((10, 10, 10), np.uint8), np.eye(4))
    [reason] = Preparation([], Modality.T1GD, {}, tiny).reasons_for_review()
    assert reason == "The mask of the brain is doubtful: 1 ml, not 900 to 2000 ml."
