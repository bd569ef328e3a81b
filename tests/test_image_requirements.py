"""The requirements of the container image: tested versions with hashes, and no telemetry."""

import re
import tomllib
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
COMMON = ROOT / "docker" / "requirements.txt"
FLAVOURS = sorted((ROOT / "docker").glob("requirements-*.txt"))
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def read_pins(path):
    """The pinned requirements by name, each with its hash options."""
    text = re.sub(r"\\\n|^#.*$", "", path.read_text(), flags=re.MULTILINE)
    lines = (line.partition(" --") for line in text.splitlines() if line.strip())
    pins = [(Requirement(pin), dashes + options) for pin, dashes, options in (map(str.strip, line) for line in lines)]
    return {canonicalize_name(pin.name): (pin, options) for pin, options in pins}


@pytest.fixture(scope="module", params=FLAVOURS, ids=lambda path: path.stem)
def pins(request):
    """The pinned requirements of the image of a flavour."""
    return read_pins(COMMON) | read_pins(request.param)


def is_pinned(requirement, pins):
    name = canonicalize_name(requirement.name)
    return name in pins and all(requirement.specifier.contains(pin.version) for pin in pins[name][0].specifier)


def applies(requirement):
    return requirement.marker is None or requirement.marker.evaluate({"extra": ""})


def test_there_are_requirements_for_cpus_and_for_gpus():
    assert {path.stem for path in FLAVOURS} >= {"requirements-cpu", "requirements-cu130"}


def test_every_pin_is_the_tested_version():
    tested = {name: str(pin.specifier) for name, (pin, _) in read_pins(ROOT / ".ci" / "constraints.txt").items()}
    common = {name: str(pin.specifier) for name, (pin, _) in read_pins(COMMON).items()}
    assert common
    assert common == {name: tested.get(name) for name in common}
    for path in FLAVOURS:
        assert str(read_pins(path)["torch"][0].specifier).partition("+")[0] == tested["torch"]


@pytest.mark.parametrize("path", [COMMON, *FLAVOURS], ids=lambda path: path.stem)
def test_every_pin_is_one_version_with_hashes(path):
    for pin, options in read_pins(path).values():
        assert re.fullmatch(r"==[\w.+]+", str(pin.specifier)), pin
        assert options, pin
        assert [option for option in options.split() if not HASH.fullmatch(option)] == [], pin


def test_every_runtime_dependency_is_pinned(pins):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = map(Requirement, [*project["dependencies"], *extras["serve"], *extras["int8"], *extras["image"]])
    assert [str(requirement) for requirement in wanted if not is_pinned(requirement, pins)] == []


def test_every_transitive_dependency_but_telemetry_is_pinned(pins):
    # Without torch and its dependencies: the installed build is only one of those in the requirements.
    common = [name for name, (pin, _) in read_pins(COMMON).items() if applies(pin)]
    wanted = [Requirement(line) for name in common for line in requires(name) or ()]
    assert {
        requirement.name for requirement in wanted if applies(requirement) and not is_pinned(requirement, pins)
    } == {"openvino-telemetry"}


def test_no_telemetry_package_is_installed(pins):
    # fastapi imports the OpenTelemetry API, which does nothing without the SDK.
    assert [name for name in pins if "telemetry" in name] == ["opentelemetry-api"]


def test_cuda_libraries_are_pinned_for_cuda_images_only():
    cuda_name = re.compile(r"cuda-|nvidia-")
    for path in [COMMON, *FLAVOURS]:
        libraries = [name for name in read_pins(path) if cuda_name.match(name)]
        assert bool(libraries) is path.stem.startswith("requirements-cu"), path


@pytest.mark.parametrize("path", [COMMON, *FLAVOURS], ids=lambda path: path.stem)
def test_requirements_contain_no_url(path):
    assert "://" not in path.read_text()


def test_the_image_installs_pinned_packages_only():
    commands = re.sub(r"\\\n", "", (ROOT / "docker" / "Dockerfile").read_text())
    packages, project = re.findall(r"pip install .*", commands)
    assert {"--no-deps", "--require-hashes", "--only-binary"} <= set(packages.split())
    assert {"--no-deps", "--no-build-isolation"} <= set(project.split())
