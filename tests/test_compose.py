"""The Compose files and the systemd unit: privileges, ports, secrets and versions."""

import re
import tomllib
from pathlib import Path

import pytest
from ruamel.yaml import YAML, SafeConstructor

from service.bridge.settings import BridgeSettings
from service.settings import BRIDGE_PREFIX, Settings, describe_settings

ROOT = Path(__file__).parents[1]
DOCKER = ROOT / "docker"
UNIT = DOCKER / "glioserve.service"
MOUNT = re.compile(r"(?P<source>\./[^:]+):(?P<target>[^:]+):ro")


class ComposeConstructor(SafeConstructor):
    """Reads the YAML of Compose: values removed by `!reset` are None."""


ComposeConstructor.add_constructor("!reset", lambda *_: None)


def read(path):
    yaml = YAML(typ="safe", pure=True)
    yaml.Constructor = ComposeConstructor
    return yaml.load(path)


@pytest.fixture(scope="module")
def compose():
    return read(DOCKER / "compose.yaml")


@pytest.fixture(scope="module")
def services(compose):
    return compose["services"]


@pytest.fixture(scope="module")
def unit():
    """The values of the systemd unit by option."""
    lines = re.findall(r"^(\w+)=(.*)$", UNIT.read_text(), re.MULTILINE)
    return {name: [value for other, value in lines if other == name] for name, _ in lines}


def mounted_sources(services):
    """The bind mounts from this folder: the short form is read-only, the long form may be writable."""
    volumes = [volume for service in services.values() for volume in service.get("volumes", ())]
    short = [match["source"] for volume in volumes if isinstance(volume, str) and (match := MOUNT.fullmatch(volume))]
    return short + [volume["source"] for volume in volumes if isinstance(volume, dict)]


def test_containers_have_minimal_privileges(services):
    assert {name: service.get("cap_add", []) for name, service in services.items()} == {
        "glioserve": [],
        "keys": [],
        "bridge": [],
        "orthanc": [],
        "prometheus": [],
        "grafana": [],
        "caddy": ["NET_BIND_SERVICE"],
    }
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["read_only"], name
        assert service["mem_limit"], name
        assert service["pids_limit"], name


def test_containers_are_killed_only_after_the_grace_period(services, unit):
    stops = services["glioserve"]["stop_grace_period"], *unit["TimeoutStopSec"]
    assert min(int(stop.removesuffix("s")) for stop in stops) > Settings().shutdown_grace_s


def test_only_the_tls_port_is_reachable_from_other_machines_by_default(services):
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert published.pop("caddy") == ["${PUBLISH_TLS:-443}:443"]
    assert published
    assert all(":-127.0.0.1:" in port for ports in published.values() for port in ports)


def test_every_environment_variable_is_a_known_setting():
    known = {name for name, *_ in (*describe_settings(), *describe_settings(BridgeSettings, BRIDGE_PREFIX))}
    for path in (DOCKER / "compose.yaml", DOCKER / "compose.cpu.yaml", UNIT):
        used = set(re.findall(r"GLIOSERVE_[A-Z_]+", path.read_text()))
        assert used
        assert used <= known, path.name


def test_every_mounted_file_is_in_the_repository_or_a_secret(services, compose):
    sources = mounted_sources(services)
    assert len(sources) == 10
    assert [source for source in sources if "/secrets/" not in source and not (DOCKER / source).is_file()] == []
    assert all(secret["file"].startswith("./secrets/") for secret in compose["secrets"].values())


def test_secrets_are_excluded_from_git_and_the_image():
    assert {"/docker/secrets/", "/docker/*.env"} <= set((ROOT / ".gitignore").read_text().splitlines())
    first, *others = (ROOT / ".dockerignore").read_text().splitlines()
    assert first == "*"
    assert [line for line in others if "docker" in line] == ["!docker/requirements*.txt"]


def test_the_service_cannot_write_the_keys_file(services, unit):
    assert services["glioserve"]["secrets"] == ["keys"]  # Compose mounts secrets read-only
    assert services["glioserve"]["volumes"] == ["spool:/var/lib/glioserve"]
    assert (unit["ProtectSystem"], unit["StateDirectory"]) == (["strict"], ["glioserve"])
    assert "GLIOSERVE_KEYS_FILE=/etc/glioserve/keys" in unit["Environment"][0]


def test_every_image_has_a_fixed_version_and_the_service_the_current_one(services):
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    images = {name: service["image"] for name, service in services.items()}
    assert {images.pop(name) for name in ("glioserve", "keys", "bridge")} == {f"glioserve:${{VERSION:-{version}}}"}
    for image in images.values():
        assert re.fullmatch(r"\$\{[A-Z]+:-[\w/-]+:v?\d+\.\d+\.\d+\}", image)


def test_every_build_argument_is_declared_in_the_dockerfile(services):
    known = re.findall(r"^ARG (\w+)", (DOCKER / "Dockerfile").read_text(), re.MULTILINE)
    assert set(services["glioserve"]["build"]["args"]) <= set(known)


def test_the_cpu_variant_reserves_no_gpu(services):
    assert services["glioserve"]["deploy"]["resources"]["reservations"]["devices"]
    override = read(DOCKER / "compose.cpu.yaml")["services"]["glioserve"]
    assert override["deploy"] is None
    assert override["environment"] == {"GLIOSERVE_DEVICE": "cpu"}
