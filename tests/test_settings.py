from pathlib import Path

import pytest

from service.errors import SettingsError
from service.settings import DEFAULT_WEIGHTS, describe_settings, read_settings

TABLE = Path(__file__).parents[1] / "docs" / "settings.md"


def test_the_defaults_are_loopback_and_the_bundled_weights():
    settings = read_settings({"PATH": "/bin"})
    assert (settings.host, settings.port, settings.weights) == ("127.0.0.1", 8000, DEFAULT_WEIGHTS)


def test_environment_variables_set_the_fields_they_name():
    settings = read_settings({"GLIOSERVE_PORT": "9000", "GLIOSERVE_DEVICE": "cpu"})
    assert (settings.port, settings.device) == (9000, "cpu")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GLIOSERVE_PROT", "9000"),
        ("GLIOSERVE_PORT", "many"),
        ("GLIOSERVE_DEVICE", "tpu"),
        ("GLIOSERVE_SHUTDOWN_GRACE_S", "inf"),
        ("GLIOSERVE_THREADS", "9999"),
        ("GLIOSERVE_TRUSTED_PROXIES", "127.0.0.1, proxy.example"),
    ],
)
def test_an_invalid_variable_is_named(name, value):
    with pytest.raises(SettingsError, match=name):
        read_settings({name: value})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "hospital.example"])
def test_keys_are_required_beyond_loopback_unless_disabled(host):
    with pytest.raises(SettingsError, match="GLIOSERVE_ALLOW_UNAUTHENTICATED=true"):
        read_settings({"GLIOSERVE_HOST": host})
    assert read_settings({"GLIOSERVE_HOST": host, "GLIOSERVE_KEYS_FILE": "keys"}).host == host
    assert read_settings({"GLIOSERVE_HOST": host, "GLIOSERVE_ALLOW_UNAUTHENTICATED": "true"}).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.9.9.9"])
def test_no_keys_are_required_on_loopback(host):
    assert read_settings({"GLIOSERVE_HOST": host}).keys_file is None


@pytest.mark.parametrize("settings", [{"TLS_CERTIFICATE": "x"}, {"TLS_KEY": "x"}, {"TLS_CLIENT_CA": "x"}])
def test_tls_requires_both_certificate_and_key(settings):
    with pytest.raises(SettingsError, match="expected both"):
        read_settings({f"GLIOSERVE_{name}": value for name, value in settings.items()})


def test_an_empty_variable_counts_as_absent():
    assert read_settings({"GLIOSERVE_PORT": ""}).port == 8000


def test_the_table_in_the_documentation_matches_the_settings():
    rows = [f"| `{name}` | {default} | {what} |" for name, default, what in describe_settings()]
    found = [line for line in TABLE.read_text().splitlines() if line.startswith("| `GLIOSERVE_")]
    assert found == rows
