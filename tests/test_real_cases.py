"""The bundled weights on real cases, if these are present beside the checkout."""

from zipfile import ZipFile

import nibabel as nib
import numpy as np
import pytest
from support.api import open_answer, post_case, read_mask, read_report
from support.real_cases import BRATS, RAW
from support.running_service import ready_client

from service.imaging.nifti import encode_nifti
from service.imaging.phantom import SUFFIXES, zip_files
from service.imaging.reading import read_case
from service.imaging.volume import Volume
from service.segmentation.measure import dice
from service.settings import Settings

pytestmark = pytest.mark.skipif(not BRATS.is_dir(), reason="no real cases beside the checkout")


@pytest.fixture(scope="module")
def bundled(tmp_path_factory):
    with ready_client(Settings(device="cpu", spool=tmp_path_factory.mktemp("spool"))) as client:
        yield client


@pytest.fixture(scope="module")
def images():
    """The four modalities of a case with the labels 1, 2, 4."""
    with ZipFile(BRATS / "zips" / "BraTS2021_01660.zip") as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    return read_case(files).images


def send(client, body):
    """The mask and report of a case."""
    answer = open_answer(post_case(client, body))
    return read_mask(answer), read_report(answer)


def send_images(client, images):
    """The mask of changed images."""
    return send(client, zip_files({f"{SUFFIXES[name]}.nii": encode_nifti(image) for name, image in images.items()}))[0]


@pytest.fixture(scope="module")
def plain(bundled, images):
    return np.asarray(send_images(bundled, images).dataobj)


@pytest.mark.parametrize("case", ["BraTS2021_01660", "BraTS-GLI-00000-000"], ids=["labels 1 2 4", "labels 1 2 3"])
def test_real_cases_of_both_label_conventions_are_segmented(bundled, case):
    mask, report = send(bundled, (BRATS / "zips" / f"{case}.zip").read_bytes())
    assert mask.shape == (240, 240, 155)
    assert report["warnings"] == []
    assert report["regions"]["WT"]["scores"]["dice"] > 0.8
    assert report["regions"]["TC"]["scores"]["dice"] > 0.55


def test_another_orientation_gives_the_same_tumour(bundled, images, plain):
    turn = np.array([[2, -1], [0, 1], [1, -1]])  # array axes permuted and flipped

    def reoriented(image):
        stored = nib.Nifti1Image(image.voxels, image.affine).as_reoriented(turn)
        return Volume(np.asarray(stored.dataobj), stored.affine)

    mask = send_images(bundled, {name: reoriented(image) for name, image in images.items()})
    upright = mask.as_reoriented(nib.orientations.io_orientation(np.linalg.inv(images["T1"].affine) @ mask.affine))
    assert dice(np.asarray(upright.dataobj) > 0, plain > 0) >= 0.99


def test_a_resolution_of_2_mm_gives_the_same_tumour(bundled, images, plain):
    def averaged(voxels):
        """The mean of each block of 2 x 2 x 2 voxels, as in a coarser scan."""
        return voxels[:, :, :154].reshape(120, 2, 120, 2, 77, 2).mean(axis=(1, 3, 5), dtype=np.float32)

    affine = images["T1"].affine @ np.array([[2, 0, 0, 0.5], [0, 2, 0, 0.5], [0, 0, 2, 0.5], [0, 0, 0, 1]])
    mask = send_images(bundled, {name: Volume(averaged(image.voxels), affine) for name, image in images.items()})
    assert dice(np.asarray(mask.dataobj) > 0, averaged(plain > 0) >= 0.5) >= 0.9


def test_a_raw_clinical_scan_has_the_volumes_of_the_prepared_one(bundled):
    bodies = (
        zip_files({path.name: path.read_bytes() for path in sorted((RAW / name).iterdir())})
        for name in ("glioma-1", "glioma-1-prepared")
    )
    (raw_mask, raw), (_, prepared) = (send(bundled, body) for body in bodies)
    assert raw_mask.shape == (256, 224, 26)  # of T1Gd
    assert (raw["review_recommended"], prepared["preparation"]) == (False, None)
    for region, found in raw["regions"].items():
        assert found["volume_ml"] == pytest.approx(prepared["regions"][region]["volume_ml"], rel=0.15)
