"""Raw cases through the whole service: the decoder process prepares them."""

import os
import signal
from contextlib import closing
from threading import Timer

import numpy as np
import pytest
from support.api import open_answer, post_case, read_mask, read_problem, read_report
from support.raw_series import AXIAL, SAGITTAL, make_raw_case, true_motion

from service.imaging.case import BRAIN_MASK, GROUND_TRUTH, Modality, case_of
from service.imaging.errors import ModalityError, PreparationError
from service.imaging.formats import decode
from service.imaging.nifti import encode_nifti
from service.imaging.phantom import zip_files
from service.imaging.volume import Volume
from service.intake import decoder_process
from service.intake.decoder import Decoder
from service.preparation.prepare import prepare_raw

NAMES = {"T1": "t1", "T1Gd": "t1gd", "T2": "t2", "FLAIR": "flair", GROUND_TRUTH: "seg", BRAIN_MASK: "mask"}


def as_files(volumes: dict[str, Volume]) -> dict[str, bytes]:
    return {f"{NAMES[role]}.nii": encode_nifti(volume) for role, volume in volumes.items()}


@pytest.fixture(scope="module")
def raw():
    """A raw case without a brain mask."""
    volumes = make_raw_case()
    del volumes[BRAIN_MASK]
    return volumes


@pytest.fixture(scope="module")
def answer(client, raw):
    return open_answer(post_case(client, zip_files(as_files(raw)), "?prepared=true"))


def test_a_raw_case_is_answered_on_the_grid_of_t1gd(answer):
    mask, report = read_mask(answer), read_report(answer)
    assert mask.shape == AXIAL.shape
    assert np.allclose(mask.affine, AXIAL.affine)
    assert all(found["scores"]["dice"] > 0.85 for found in report["regions"].values())
    assert not [reason for reason in report["review_reasons"] if "doubtful" in reason]
    assert "prepare" in report["timings_ms"]


def test_the_report_says_what_was_done_and_why(answer):
    preparation = read_report(answer)["preparation"]
    assert preparation["reasons"][0] == "Not on the grid of T1Gd: T1."
    assert preparation["reference"] == "T1Gd"
    assert 1300 < preparation["brain_ml"] < 1700
    for modality, series in preparation["series"].items():
        assert series["brain_overlap"] > 0.9
        assert np.allclose(series["motion"], true_motion(Modality(modality)), atol=1.5)


def test_the_prepared_images_are_in_the_zip(answer):
    masked = decode(answer.read("prepared_t2.nii.gz"), "T2")
    brain = decode(answer.read("brain_mask.nii.gz"), BRAIN_MASK)
    assert masked.grid.coincides(AXIAL)
    assert np.array_equal(np.unique(brain.voxels), [0, 1])
    assert not masked.voxels[brain.voxels == 0].any()
    assert answer.read("registration_t2.tfm").startswith(b"#Insight Transform File V1.0")


def test_the_answer_may_be_on_the_grid_of_another_series(client, raw):
    files = as_files({role: volume for role, volume in raw.items() if role != GROUND_TRUTH})
    mask = read_mask(open_answer(post_case(client, zip_files(files), "?grid=t1")))
    assert mask.shape == SAGITTAL.shape
    assert np.allclose(mask.affine, SAGITTAL.affine)


def test_a_raw_case_is_rejected_if_it_may_not_be_prepared(client, raw):
    response = post_case(client, zip_files(as_files(raw)), "?prepare=never")
    assert read_problem(response, 422, "geometry").startswith("T1: expected the shape of T1Gd, (110, 110, 32), found")


def test_one_series_sent_twice_is_rejected_before_the_networks_run(raw):
    case = case_of(raw | {"T2": raw["FLAIR"]})
    with pytest.raises(ModalityError, match="T2 and FLAIR: expected two different images"):
        prepare_raw(case, [], networks=None)


def test_images_without_a_head_are_not_trusted(client):
    random = np.random.default_rng(0)
    noise = {
        name: Volume(random.integers(1, 99, (50, 60, 40)).astype(np.int16), np.diag([4, 4, 5, 1])) for name in Modality
    }
    report = read_report(open_answer(post_case(client, zip_files(as_files(noise)))))
    assert [reason for reason in report["review_reasons"] if "doubtful" in reason]


@pytest.fixture
def read_raw(raw, tmp_path):
    """A decoder that has read the raw case."""
    (tmp_path / "file").write_bytes(zip_files(as_files(raw)))
    with closing(Decoder(max_unpacked_mib=128)) as decoder:
        decoder.read(tmp_path)
        yield decoder, tmp_path


def test_a_crash_while_a_case_is_prepared_is_a_problem_of_the_case(read_raw):
    decoder, folder = read_raw
    Timer(1, os.kill, [decoder.pid, signal.SIGSEGV]).start()
    with pytest.raises(PreparationError, match="crashed, or took longer than the 120 s allowed"):
        decoder.prepare()
    assert decoder.read(folder)[1]


def test_a_lack_of_memory_while_a_case_is_prepared_is_a_problem_of_the_case(monkeypatch, raw, tmp_path):
    (tmp_path / "file").write_bytes(zip_files(as_files(raw)))
    reader = decoder_process.Reader()
    reader.answer({"folder": str(tmp_path), "max_unpacked_mib": 128, "options": {"prepare": "auto"}})

    def fail(*_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr("service.preparation.prepare.prepare_raw", fail)
    reply, shared = reader.answer({})
    assert (reply["error"], shared) == ("PreparationError", [])
    assert "3072 MiB of memory" in reply["message"]
