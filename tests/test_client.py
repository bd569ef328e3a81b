"""The Python client: cases in every form, results, progress, and what the package depends on."""

import json
from concurrent.futures import ThreadPoolExecutor
from zipfile import ZipFile

import anyio
import nibabel as nib
import numpy as np
import pytest
from support.client_runs import MASK, REPORT, Reports, plain_answer, write_files
from support.dicom_files import make_study

from glioserve_client import AsyncClient, Client, Options, State
from glioserve_client.case import pack
from service.imaging.case import Modality
from service.imaging.phantom import SUFFIXES, zip_files

PATIENT = "DOE^JANE"


@pytest.fixture(scope="module")
def expected(address, phantom_zip):
    """The files of the answer to a plain POST."""
    return plain_answer(address, phantom_zip)


@pytest.fixture
def client(address):
    with Client(address) as client:
        yield client


@pytest.fixture
def arrays(phantom):
    """The phantom as arrays and affines."""
    return {SUFFIXES[role]: (volume.voxels, volume.affine) for role, volume in phantom.items()}


@pytest.fixture
def folder(tmp_path, phantom_files):
    """The folder of a case whose files are named after a patient, among other files."""
    files = {f"{PATIENT}_{name.rpartition('_')[2]}": data for name, data in phantom_files.items()}
    return write_files(tmp_path / PATIENT, files | {"notes.txt": b"private", "._x_t1.nii": b"private"})


def test_a_zip_has_the_answer_of_a_plain_request(client, case, expected):
    result = client.segment(case)
    assert result.files[MASK] == expected[MASK]
    assert result.report["regions"] == json.loads(expected[REPORT])["regions"]


def test_the_result_has_labels_volumes_and_files(client, case, tmp_path):
    result = client.segment(case)
    assert result.labels.shape == (150, 180, 50)
    assert set(np.unique(result.labels.dataobj)) == {0, 1, 2, 4}
    assert result.volumes_ml == {name: found["volume_ml"] for name, found in result.report["regions"].items()}
    result.save(tmp_path / "new" / "folder")
    assert (tmp_path / "new" / "folder" / MASK).read_bytes() == result.files[MASK]


def test_arrays_with_affines_have_the_answer_of_their_files(client, arrays, expected):
    assert client.segment(arrays).files[MASK] == expected[MASK]


def test_images_of_nibabel_and_paths_can_be_mixed(client, arrays, phantom_files, tmp_path, expected):
    mixed = {name.upper(): nib.Nifti1Image(*image) for name, image in arrays.items()}
    mixed["FLAIR"] = write_files(tmp_path, phantom_files) / "phantom" / "phantom_flair.nii.gz"
    assert client.segment(mixed).files[MASK] == expected[MASK]


@pytest.mark.parametrize("voxel_type", [np.int64, np.uint64, np.float16, np.float64])
def test_every_type_of_voxel_can_be_sent(client, arrays, voxel_type):
    converted = {name: (voxels.astype(voxel_type), affine) for name, (voxels, affine) in arrays.items()}
    assert client.segment(converted).report["regions"]["WT"]["scores"]["dice"] > 0.8


def test_a_folder_has_the_answer_of_its_images(client, folder, expected):
    assert client.segment(folder).files[MASK] == expected[MASK]


def test_the_names_of_files_are_not_sent(folder, tmp_path):
    with ZipFile(pack(folder, tmp_path).path) as sent:
        assert sorted(name.partition("/")[2] for name in sent.namelist()) == sorted(
            f"{ending}.nii.gz" for ending in SUFFIXES.values()
        )


def test_pairs_of_hdr_and_img_can_be_sent(client, arrays, tmp_path, expected):
    for name, image in arrays.items():
        nib.Nifti1Pair(*image).to_filename(tmp_path / f"{PATIENT}_{name}.hdr")
    assert client.segment(tmp_path).files[MASK] == expected[MASK]
    pairs = {name: tmp_path / f"{PATIENT}_{name}.hdr" for name in arrays}
    assert client.segment(pairs).files[MASK] == expected[MASK]


def test_a_folder_of_a_dicom_study_has_the_answer_of_its_zip(client, address, phantom, tmp_path):
    study = make_study({role: phantom[role] for role in Modality})
    folder = write_files(tmp_path / "study", study | {"viewer/readme.txt": b"private"})
    result = client.segment(folder)
    assert result.files[MASK] == plain_answer(address, zip_files(study))[MASK]
    assert result.report["input"]["series"]["FLAIR"]["number"] == 5
    with ZipFile(pack(folder, tmp_path).path) as sent:
        assert sent.namelist() == [f"{number:05}" for number in range(len(study))]


def test_options_reach_the_service(client, case):
    result = client.segment(case, Options(enhancing_label=3, probabilities=True))
    assert set(np.unique(result.labels.dataobj)) == {0, 1, 2, 3}
    assert "probability_et.nii.gz" in result.files


def test_the_same_case_is_one_job_and_other_options_are_another(client, case):
    first, again = client.segment(case), client.segment(case)
    assert first.job_id == again.job_id != client.segment(case, Options(enhancing_label=3)).job_id


def test_the_same_images_are_packed_in_the_same_way(arrays, tmp_path):
    first, second = ((tmp_path / name) for name in ("first", "second"))
    first.mkdir(), second.mkdir()
    assert pack(arrays, first).sha256 == pack(dict(reversed(arrays.items())), second).sha256


def test_a_caller_may_choose_the_idempotency_key(client, case):
    assert client.segment(case, idempotency_key="mine").job_id != client.segment(case).job_id


def test_progress_goes_from_the_upload_to_the_last_slice(client, case):
    reports = Reports()
    result = client.segment(case, progress=reports.append, idempotency_key="progress")
    sent = [progress.sent_bytes for progress in reports if progress.state == State.UPLOADING]
    assert sent == sorted(sent)
    assert (sent[0], sent[-1]) == (0, case.stat().st_size)
    states = list(dict.fromkeys(progress.state for progress in reports))
    assert states == [state for state in State if state in states]  # in this order
    assert reports[-1].state == State.DONE
    done = {name: found.done for name, found in reports[-1].slices.items()}
    assert done == result.report["computation"]["slices_run"]


def test_a_removed_result_is_gone(client, case):
    job = client.segment(case, idempotency_key="removed").job_id
    client.remove(job)
    client.remove(job)  # nothing is left to do
    assert client.segment(case, idempotency_key="removed").job_id != job


def test_a_client_can_be_used_without_with(address, case, expected):
    assert Client(address).segment(case).files[MASK] == expected[MASK]


def test_a_client_works_while_an_event_loop_runs_as_in_a_notebook(client, case, expected):
    async def cell():
        return client.segment(case)

    assert anyio.run(cell).files[MASK] == expected[MASK]


def test_two_cases_can_be_segmented_at_once(client, arrays, case):
    flipped = {name: (voxels[::-1], affine) for name, (voxels, affine) in arrays.items()}
    with ThreadPoolExecutor() as threads:
        one, other = threads.map(client.segment, (case, flipped))
    assert (one.labels.get_fdata() == other.labels.get_fdata()[::-1]).all()


def test_asynchronous_code_can_segment_two_cases_at_once(address, case, arrays, expected):
    results = {}

    async def segment(client, name, given):
        results[name] = await client.segment(given)

    async def main():
        async with AsyncClient(address) as client, anyio.create_task_group() as tasks:
            tasks.start_soon(segment, client, "zip", case)
            tasks.start_soon(segment, client, "arrays", arrays)
        await AsyncClient(address).remove(results["zip"].job_id)

    anyio.run(main)
    assert [result.files[MASK] for result in results.values()] == [expected[MASK]] * 2
