"""Patient data reaches no response and no log, and the service contacts no other host."""

import gzip
import json
import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import httpx2
import nibabel as nib
import pytest
from pydicom import dcmread
from pydicom.config import disable_value_validation
from support.api import post_case
from support.case_files import make_case_files, make_nifti, rename_by_role
from support.dicom_files import encode, make_study
from support.malicious_images import IMAGES
from support.running_service import serve_in_process, wait_until

from service.imaging.case import Modality
from service.imaging.phantom import encode_phantom, zip_files

PATIENT = "DOE^JANE 1970"
DICOM_ROLES = (tuple(Modality), (Modality.T1, Modality.T2))  # a complete study, and one that is rejected
ISOLATED = ["unshare", "--map-root-user", "--net", sys.executable]


def with_patient_name(data: bytes) -> bytes:
    """A NIfTI file with a patient name in every field for free text."""
    volume = nib.Nifti1Image.from_bytes(data)
    for field in ("descrip", "aux_file", "db_name", "intent_name"):
        volume.header[field] = PATIENT.encode()
    volume.header.extensions.append(nib.nifti1.Nifti1Extension("comment", PATIENT.encode()))
    return volume.to_bytes()


def named_after_patient(files: dict[str, bytes]) -> dict[str, bytes]:
    """Files with a patient name in the names of file and folder."""
    return {f"{PATIENT}/{PATIENT}_{name}.nii": data for name, data in files.items()}


def name_patient_everywhere(study: dict[str, bytes]) -> bytes:
    """A zip of a DICOM study with a patient name in every place for free text, and where no text belongs."""
    named = {}
    with disable_value_validation():
        for name, data in study.items():
            dataset = dcmread(BytesIO(data))
            dataset.SeriesDescription = f"{dataset.SeriesDescription} {PATIENT}"
            for keyword in ("PatientComments", "ImageComments", "ProtocolName", "InstitutionName", "StudyInstanceUID"):
                setattr(dataset, keyword, PATIENT)
            dataset.add_new((0x0018, 0x0015), "UI", PATIENT)  # BodyPartExamined, with another type
            named[f"{PATIENT}/{name}"] = encode(dataset)
    return zip_files(named)


def images_of(body: bytes) -> dict[str, bytes]:
    """The images of a zip by the stem of their names."""
    with ZipFile(BytesIO(body)) as archive:
        return {Path(name).stem: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def bodies(phantom):
    """Uploads full of a patient name: one that is segmented, and one for each way to fail."""
    images = rename_by_role(encode_phantom(phantom))
    good = named_after_patient({name: with_patient_name(gzip.decompress(data)) for name, data in images.items()})
    broken = [zip_files(named_after_patient(images_of(IMAGES[name].make_body()))) for name in IMAGES]
    incomplete = zip_files(named_after_patient({name: with_patient_name(make_nifti()) for name in ("t1", "t2")}))
    nested = zip_files(named_after_patient(make_case_files()) | {f"{PATIENT}.zip": b""})
    truncated = zip_files(good)[:-200]
    studies = [name_patient_everywhere(make_study({role: phantom[role] for role in roles})) for roles in DICOM_ROLES]
    return [zip_files(good), incomplete, nested, truncated, *broken, *studies]


def unpack(content: bytes) -> bytes:
    """A response body followed by everything compressed in it."""
    try:
        with ZipFile(BytesIO(content)) as archive:
            return content + b"".join(unpack(archive.read(name)) for name in archive.namelist())
    except BadZipFile:
        return gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content


def send_patient_name(client: httpx2.Client, bodies: list[bytes]) -> list[httpx2.Response]:
    """Send a patient name in every place a client can put it, and return the responses."""
    found = [client.post("/segment", files={"file": (f"{PATIENT}.zip", body)}) for body in bodies]
    found.append(client.post("/segment", files={"file": bodies[0]}, headers={"Accept": "application/gzip"}))
    found.append(client.post("/segment", files={PATIENT: (PATIENT, b"")}))
    found.append(client.post("/segment", files={f"{PATIENT}_t1": (PATIENT, b""), f"{PATIENT}_t2": (PATIENT, b"")}))
    for number, body in enumerate(bodies[:3]):
        study = {"Idempotency-Key": f"DOE^JANE-{number}", "Prefer": "respond-async", "X-Request-ID": PATIENT}
        accepted = client.post("/segment", files={"file": (PATIENT, body)}, headers=study)
        job = accepted.headers["Location"]
        wait_until(lambda job=job: client.get(job).json()["finished"])
        found += [accepted, client.get(job), client.get(f"{job}/events"), client.get(f"{job}/result")]
    found += [client.get(f"/jobs/{PATIENT}"), client.get(f"/{PATIENT}?{PATIENT}"), client.delete(f"/jobs/{PATIENT}")]
    found.append(client.request(PATIENT.split()[0], "/segment"))
    return [*found, client.get("/metrics"), client.get("/models")]


def test_a_patient_name_reaches_no_response_and_no_log(weights, tmp_path, bodies):
    with (
        serve_in_process(tmp_path, weights=weights) as server,
        httpx2.Client(base_url=server.address, timeout=60) as client,
    ):
        responses = send_patient_name(client, bodies)
    assert {200, 202, 400, 404, 405, 422} <= {response.status_code for response in responses}
    sent = [unpack(response.content) + str(response.headers).encode() for response in responses]
    logs = [path.read_bytes() for path in (server.log, tmp_path / "spool" / "audit.jsonl")]
    for log in logs:
        assert log.count(b'"event"') > len(responses)
    for text in (*sent, *logs):
        assert b"DOE" not in text
        assert b"JANE" not in text


def test_finished_and_aborted_cases_leave_nothing_in_the_spool(weights, tmp_path, bodies):
    with serve_in_process(tmp_path, weights=weights) as server:
        with httpx2.Client(base_url=server.address, timeout=60) as client:
            statuses = [post_case(client, body).status_code for body in bodies[:6]]
        assert statuses[0] == 200
        assert set(statuses[1:]) <= {400, 422}
        with httpx2.Client(base_url=server.address, timeout=0.05) as client, pytest.raises(httpx2.TransportError):
            post_case(client, bodies[0])
        wait_until(lambda: [path for path in (tmp_path / "spool").iterdir() if path.is_dir()] == [])


@pytest.mark.skipif(
    subprocess.run([*ISOLATED, "-c", ""], check=False, capture_output=True).returncode != 0,
    reason="network namespaces are not available",
)
def test_the_service_contacts_no_other_host(tmp_path, phantom_zip):
    case = tmp_path / "case.zip"
    case.write_bytes(phantom_zip)
    command = [*ISOLATED, "-m", "support.network_isolation", case, tmp_path]
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    result = subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, check=True, capture_output=True, text=True)
    assert json.loads(result.stdout) == {"service": 0, "deliberate": 2}
