"""The page at /: what is served, with which headers, and what its scripts do without a browser."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import httpx2
import pytest
from fastapi.testclient import TestClient
from support.running_service import LOOPBACK

from service.app import create_app
from service.dicom.segmentation_object import SEGMENTS
from service.imaging.labels import NECROTIC_CORE, OEDEMA, EnhancingLabel
from service.imaging.names import ROLE_OF_SUFFIX
from service.problems import PROBLEM_TYPES
from service.settings import Settings
from service.web import page_routes

SOURCE = Path(page_routes.FOLDER).parent
FILES = "/", "/page/page.js", "/page/page.css", "/page/licences.txt"
needs_build = pytest.mark.skipif(not page_routes.FOLDER.is_dir(), reason="the page has not been built (make viewer)")


@pytest.fixture
def client():
    return TestClient(create_app(Settings()), LOOPBACK)


@needs_build
def test_the_page_loads_everything_from_the_service(client):
    page = client.get("/").text
    parts = re.findall(r'(?:src|href)="(?!#|data:)([^"]+)"', page)
    assert {"page/page.js", "page/page.css", "page/licences.txt", "docs"} == set(parts)
    assert all(client.get(part).status_code == 200 for part in parts)
    for text in (page, client.get("/page/page.css").text):
        assert "://" not in text
        assert "style=" not in text


@needs_build
def test_the_script_requests_no_foreign_address(client):
    script = client.get("/page/page.js").text
    assert not re.findall(r"(?:fetch|import|open|Worker)\(\s*[\"'`](?:https?:)?//", script)


@needs_build
def test_files_have_their_media_types(client):
    found = [client.get(path).headers["content-type"].partition(";")[0] for path in FILES]
    assert found == ["text/html", "text/javascript", "text/css", "text/plain"]


@needs_build
def test_the_script_is_compressed_only_for_clients_that_accept_it(client):
    plain = client.get("/page/page.js", headers={"Accept-Encoding": "identity"})
    compressed = client.get("/page/page.js", headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in plain.headers
    assert compressed.headers["content-encoding"] == "gzip"
    assert int(compressed.headers["content-length"]) < int(plain.headers["content-length"]) / 2
    assert plain.content == compressed.content


@needs_build
def test_the_licences_name_all_bundled_packages(client):
    licences = client.get("/page/licences.txt").text
    for package in ("@niivue/niivue", "@zip.js/zip.js", "eventsource-parser", "gl-matrix", "nifti-reader-js", "fflate"):
        assert re.search(rf"^{package} \d", licences, re.MULTILINE)
    assert "BSD 2-Clause License" in licences


def test_the_page_has_a_policy_without_inline_code(client):
    policy = client.get("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_every_header_of_the_server_holds_for_the_page(address):
    headers = httpx2.get(address).headers
    policies = headers.get_list("content-security-policy")
    assert len(policies) == 2  # browsers enforce both
    assert all("frame-ancestors 'none'" in policy for policy in policies)
    assert headers["cache-control"] == "no-store"


def test_without_a_build_the_page_says_how_to_build_it(client, monkeypatch, tmp_path):
    monkeypatch.setattr(page_routes, "FOLDER", tmp_path)
    page = client.get("/")
    assert page.status_code == 200
    assert "make viewer" in page.text
    assert client.get("/page/page.js").status_code == 404


def test_the_page_can_be_disabled():
    client = TestClient(create_app(Settings(page=False)), LOOPBACK)
    assert [client.get(path).status_code for path in (*FILES, "/page/settings.json", "/page/phantom.zip")] == [404] * 6
    assert client.get("/livez").status_code == 200


def test_the_page_learns_whether_a_key_is_required(client, tmp_path):
    assert client.get("/page/settings.json").json() == {"key_required": False, "max_upload_mib": 512}
    (tmp_path / "keys").write_text("")
    with_keys = TestClient(create_app(Settings(keys_file=tmp_path / "keys")), LOOPBACK)
    assert with_keys.get("/page/settings.json").json()["key_required"]
    assert with_keys.get("/page/phantom.zip").status_code == 401


def test_colours_and_numbers_of_labels_are_those_of_the_dicom_segmentation():
    script = (SOURCE / "src" / "labels.js").read_text()
    found = re.findall(r'key: "(\w+)", value: (\d), name: "([^"]+)", rgb: \[([\d, ]+)\]', script)
    numbers = {"necrotic_core": NECROTIC_CORE, "oedema": OEDEMA, "enhancing_tumour": EnhancingLabel.BRATS_2022}
    assert [(key, int(value), name, tuple(map(int, rgb.split(",")))) for key, value, name, rgb in found] == [
        (key, numbers[key], name, colour) for key, (name, _, colour) in SEGMENTS.items()
    ]


def test_the_endings_of_names_are_those_of_the_service():
    script = (SOURCE / "src" / "roles.js").read_text()
    table = re.search(r"ROLE_OF_SUFFIX = \{(.*?)\}", script, re.DOTALL)[1]
    names = {"GROUND_TRUTH": "ground truth", "BRAIN_MASK": "brain mask"}
    found = {suffix: names.get(role, role.strip('"')) for suffix, role in re.findall(r"(\w+): ([\w\"]+),", table)}
    assert found == {suffix: str(role) for suffix, role in ROLE_OF_SUFFIX.items()}


def test_the_page_advises_on_known_problems_only():
    script = (SOURCE / "src" / "problems.js").read_text()
    table = re.search(r"ADVICE = \{(.*?)\n\}", script, re.DOTALL)[1]
    advised = set(re.findall(r"^  \"?([\w-]+)\"?: \"", table, re.MULTILINE))
    assert advised
    assert advised <= {kind.slug for kind in PROBLEM_TYPES.values()} | {"internal", "connection"}


def test_the_lock_file_names_no_registry():
    assert "://" not in re.sub(r'"url": "https://[^"]+"', "", (SOURCE / "package-lock.json").read_text())


@needs_build
@pytest.mark.skipif(not shutil.which("node"), reason="Node.js is missing")
def test_modules_without_a_browser(tmp_path):
    case = tmp_path / "case.zip"
    with ZipFile(case, "w") as archive:
        archive.mkdir("a")
        archive.writestr("a/stored.txt", "stored" * 100)
        archive.writestr("a/deflated.txt", "deflated" * 100, ZIP_DEFLATED)
    tests = sorted(map(str, (Path(__file__).parent / "viewer").glob("*.test.js")))
    environment = os.environ | {"CASE_ZIP": str(case)}
    run = subprocess.run(["node", "--test", *tests], env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout
