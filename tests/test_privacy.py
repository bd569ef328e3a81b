"""Nothing of a patient gets out, and nothing calls home."""

from support.running_service import serve_in_process, wait_until
from support.case_files import make_nifti, make_case_files
from support.malicious_uploads import IMAGES
import gzip
import json
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import httpx2
import nibabel as nib
import pytest

from service.phantom import encode_phantom, zip_files
from service.segmentation.case import role_of

PATIENT = "DOE^JANE 1970"
ISOLATED = ["unshare", "--map-root-user", "--net", sys.executable]


def poisoned(data: bytes) -> bytes:
    """A NIfTI image with a patient's name wherever free text may be."""
    volume = nib.Nifti1Image.from_bytes(data)
    for field in ("descrip", "aux_file", "db_name", "intent_name"):
        volume.header[field] = PATIENT.encode()
    volume.header.extensions.append(nib.nifti1.Nifti1Extension("comment", PATIENT.encode()))
    return volume.to_bytes()


def named(data_by_word: dict[str, bytes]) -> dict[str, bytes]:
    """Files in a folder of a patient's name, named so too."""
    return {f"{PATIENT}/{PATIENT}_{word}.nii": data for word, data in data_by_word.items()}


def images_of(body: bytes) -> dict[str, bytes]:
    """The images of a zip by the words that their names are."""
    with ZipFile(BytesIO(body)) as archive:
        return {Path(name).stem: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def bodies(phantom):
    """Uploads full of a patient's name: one that is segmented, and one for each way to fail."""
    volumes = {role_of(name): gzip.decompress(data) for name, data in encode_phantom(phantom).items()}
    words = dict(zip(("t1", "t1ce", "t2", "flair", "seg"), volumes.values(), strict=True))
    good = named({word: poisoned(data) for word, data in words.items()})
    broken = [zip_files(named(images_of(IMAGES[name].make_body()))) for name in IMAGES]
    lacking = zip_files(named({word: poisoned(make_nifti()) for word in ("t1", "t2")}))
    nested = zip_files(named(make_case_files()) | {f"{PATIENT}.zip": b""})
    cut = zip_files(good)[:-200]
    return [zip_files(good), lacking, nested, cut, *broken]


def plain(content: bytes) -> bytes:
    """A body, and what is packed in it."""
    try:
        with ZipFile(BytesIO(content)) as archive:
            return content + b"".join(plain(archive.read(name)) for name in archive.namelist())
    except BadZipFile:
        return gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content


def answers(client: httpx2.Client, bodies: list[bytes]) -> list[httpx2.Response]:
    """What the service says to all that a client may put a patient's name into."""
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
        serve_in_process(tmp_path, weights=weights) as running,
        httpx2.Client(base_url=running.address, timeout=60) as client,
    ):
        found = answers(client, bodies)
    assert {200, 202, 400, 404, 405, 422} <= {answer.status_code for answer in found}
    told = [plain(answer.content) + str(answer.headers).encode() for answer in found]
    kept = [path.read_bytes() for path in (running.log, tmp_path / "spool" / "audit.jsonl")]
    assert kept[0].count(b'"event"') > len(found)
    assert kept[1].count(b'"event"') > len(found)
    for text in (*told, *kept):
        assert b"DOE" not in text
        assert b"JANE" not in text


def test_finished_and_aborted_cases_leave_nothing_in_the_spool(weights, tmp_path, bodies):
    with serve_in_process(tmp_path, weights=weights) as running:
        for body in bodies[:6]:
            httpx2.post(f"{running.address}/segment", files={"file": body}, timeout=60)
        with pytest.raises(httpx2.TransportError):
            httpx2.post(f"{running.address}/segment", files={"file": bodies[0]}, timeout=0.05)
        wait_until(lambda: [path for path in (tmp_path / "spool").iterdir() if path.is_dir()] == [])


@pytest.mark.skipif(
    subprocess.run([*ISOLATED, "-c", ""], check=False, capture_output=True).returncode != 0,
    reason="this machine makes no network namespaces",
)
def test_the_service_contacts_no_other_host(tmp_path, phantom_zip):
    case = tmp_path / "case.zip"
    case.write_bytes(phantom_zip)
    command = [*ISOLATED, str(Path(__file__).with_name("isolated.py")), case, tmp_path]
    ended = subprocess.run(command, check=True, capture_output=True, text=True)
    assert json.loads(ended.stdout) == {"of the service": 0, "on purpose": 2}
