"""Checks of the container image: size, content, permissions, privileges, and a segmented case."""

import json
import shutil
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest
from support.api import open_answer, read_mask, read_report
from support.real_cases import BRATS
from support.running_service import wait_until

from image import container as image
from image.container import ADDRESS, FOLDER, ROOT, USER, run
from service.imaging.phantom import encode_phantom, make_phantom, zip_files
from service.web import page_routes

MAX_SIZE_GB = 1.8
MAX_IDLE_MIB = 600
UNWANTED_PACKAGES = "model_training", "tests", "pip", "pytest", "nncf", "triton", "openvino_telemetry"
COMPILERS = "gcc", "cc", "g++", "clang", "ld", "make"
FILE_TYPES = stat.S_IFREG, stat.S_IFDIR
REAL_CASE = BRATS / "zips" / "BraTS2021_01660.zip"


@pytest.fixture(scope="session")
def built():
    """Build the image and return its name."""
    missing = [tool for tool in image.TOOLS if not shutil.which(tool)]
    assert not missing, f"apt-get install {' '.join(missing)}"
    FOLDER.mkdir(parents=True, exist_ok=True)
    image.make_base()
    image.fetch_wheels()
    return image.build("first")


@pytest.fixture(scope="session")
def files(built):
    """The folder with the files of the image."""
    with image.mounted(built) as folder:
        yield folder


@pytest.fixture(scope="session")
def packages(files):
    """The folder of the Python packages in the image."""
    return next((files / "opt" / "glioserve" / "lib").glob("python3*/site-packages"))


@pytest.fixture(scope="session")
def container(files, built):
    """A ready container of the image."""
    with image.running(files, built) as container:
        yield container


@pytest.fixture(scope="session")
def key(container):
    """A key added inside the container, with the scopes for cases and metrics."""
    scopes = "--scope=segment", "--scope=read"
    return container.execute("glioserve", "keys", "add", "ward-7", *scopes).stdout.strip()


@pytest.fixture(scope="session")
def figures():
    """The measurements by name, written to figures.json at the end."""
    measured = {}
    yield measured
    (FOLDER / "figures.json").write_text(json.dumps(measured, indent=2) + "\n")


def authorised(key):
    return {"Authorization": f"Bearer {key}"}


def segment(case, key="none"):
    headers = {"Content-Type": "application/zip"} | authorised(key)
    return httpx2.post(f"{ADDRESS}/segment", content=case, headers=headers, timeout=120)


def report_of(response):
    """The report of a response that has a mask too."""
    answer = open_answer(response)
    assert read_mask(answer).shape == (240, 240, 155)
    return read_report(answer)


def test_the_image_is_small(files, figures):
    blocks = {(found.st_dev, found.st_ino): found.st_size for path in files.rglob("*") if (found := path.lstat())}
    figures["image, GB"] = round(sum(blocks.values()) / 1e9, 2)
    assert figures["image, GB"] < MAX_SIZE_GB


def test_the_image_is_labelled_with_version_and_commit(built):
    labels = image.inspect(built)["config"]["Labels"]
    assert labels["org.opencontainers.image.revision"] == run("git", "rev-parse", "HEAD", cwd=ROOT)
    assert f'version = "{labels["org.opencontainers.image.version"]}"' in (ROOT / "pyproject.toml").read_text()


def test_the_image_has_the_whole_service_and_nothing_else(files, packages):
    tracked = run("git", "ls-files", "service", cwd=ROOT).splitlines()
    inside = [path.relative_to(packages) for path in (packages / "service").rglob("*") if path.is_file()]
    page = page_routes.FOLDER.relative_to(ROOT)  # the image has what was built, not what it was built from
    built = {str(page / path.name) for path in page_routes.FOLDER.glob("*")}
    expected = {path for path in tracked if not path.startswith(f"{page.parent}/")} | built
    assert {str(path) for path in inside if path.suffix != ".pyc"} == expected
    assert [name for name in UNWANTED_PACKAGES if (packages / name).exists()] == []
    folders = ("usr/bin", "usr/local/bin", "bin", "opt/glioserve/bin")
    assert [name for folder in folders for name in COMPILERS if (files / folder / name).exists()] == []


def test_every_module_is_compiled(packages):
    sources = list((packages / "service").rglob("*.py"))
    assert [path for path in sources if not list((path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"))] == []


def test_the_service_can_write_to_the_spool_only(files):
    spool, own = files / "var" / "lib" / "glioserve", files / "opt"
    every = {path: found for path in files.rglob("*") if stat.S_IFMT((found := path.lstat()).st_mode) in FILE_TYPES}
    assert [path for path, found in every.items() if USER in (found.st_uid, found.st_gid)] == [spool]
    assert stat.S_IMODE(every[spool].st_mode) == 0o700
    inside = [found for path, found in every.items() if path.is_relative_to(own)]
    assert {(found.st_uid, found.st_gid, found.st_mode & 0o022) for found in inside} == {(0, 0, 0)}
    open_to_all = [path for path, found in every.items() if found.st_mode & 0o002 and not found.st_mode & stat.S_ISVTX]
    assert open_to_all == []


def test_the_build_is_reproducible(built):
    assert image.inspect(image.build("second"))["rootfs"] == image.inspect(built)["rootfs"]


def test_the_idle_container_uses_little_memory(container, figures):
    figures["seconds to ready"] = round(container.seconds_to_ready, 1)
    figures["idle, MiB"] = round(container.resident_mib())
    assert figures["idle, MiB"] < MAX_IDLE_MIB


def test_the_container_runs_unprivileged_on_a_read_only_root(container):
    for pid in container.pids:
        status = dict(line.split(":\t") for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        assert status["Uid"].split() == status["Gid"].split() == [str(USER)] * 4
        assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
        assert status["NoNewPrivs"] == "1"
    assert "Read-only file system" in container.execute("touch", "/opt/glioserve/x").stderr


def test_the_health_check_passes(container, built):
    command = image.inspect(built)["config"]["Healthcheck"]["Test"]
    assert command[0] == "CMD"
    healthy = container.execute(*command[1:])
    assert (healthy.returncode, healthy.stdout) == (0, "alive\n"), healthy.stderr


def test_the_health_check_fails_without_a_service(container, built):
    command = image.inspect(built)["config"]["Healthcheck"]["Test"]
    assert container.execute("env", "GLIOSERVE_PORT=1", *command[1:]).returncode == 1


@pytest.mark.usefixtures("key")
def test_doctor_and_selftest_pass(container):
    for command in ("doctor", "selftest"):
        result = container.execute("glioserve", command)
        assert result.returncode == 0, result.stdout + result.stderr


def test_a_phantom_is_segmented_with_a_key_only(key):
    case = zip_files(encode_phantom(make_phantom()))
    assert segment(case).status_code == 401
    report = report_of(segment(case, key))
    assert report["regions"]["WT"]["scores"]["dice"] > 0.9
    assert report["computation"]["device"] == "cpu"


@pytest.mark.skipif(not REAL_CASE.exists(), reason="no real cases beside the checkout")
def test_a_real_case_is_segmented(key):
    assert report_of(segment(REAL_CASE.read_bytes(), key))["regions"]["WT"]["scores"]["dice"] > 0.8


@pytest.mark.usefixtures("container")
def test_only_the_service_can_read_what_it_wrote():
    spool = FOLDER / "bundle" / "spool"
    written = [path.stat() for path in spool.rglob("*")]
    assert {(found.st_uid, stat.S_IMODE(found.st_mode) & 0o077) for found in written} == {(USER, 0)}


def test_sigterm_lets_a_running_case_finish(container, key):
    case = zip_files(encode_phantom(make_phantom()))
    with ThreadPoolExecutor() as threads:
        response = threads.submit(segment, case, key)
        wait_until(lambda: "glioserve_running 1.0" in httpx2.get(f"{ADDRESS}/metrics", headers=authorised(key)).text)
        assert container.stop() == 0
        assert response.result().status_code == 200
