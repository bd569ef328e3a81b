import pytest
from test_settings import TABLE

from service.bridge.settings import BridgeSettings, read_bridge_settings
from service.errors import SettingsError
from service.settings import BRIDGE_PREFIX, describe_settings, read_settings

PREFIX = "GLIOSERVE_BRIDGE_"
REQUIRED = {f"{PREFIX}SEND_TO": "dicom://PACS@pacs.hospital.example:104"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SEND_TO", ""),
        ("SEND_TO", "pacs:104"),
        ("SEND_TO", "dicom://pacs:104"),
        ("SEND_TO", "dicom://PACS@pacs"),
        ("SEND_TO", "dicom://PACS@pacs:99999"),
        ("SEND_TO", "dicom://TITLE-LONGER-THAN-16@pacs:104"),
        ("SEND_TO", "ftp://pacs"),
        ("SERVICE", "dicom://PACS@pacs:104"),
        ("SERVICE", "https://user:secret@service"),
        ("AE_TITLE", "TITLE-LONGER-THAN-16"),
        ("ALLOWED_CALLERS", "SCANNER,SCAN NER"),
        ("POLL", "pacs/dicom-web"),
        ("OPTIONS", "allow_missing"),
        ("POLL_FILTER", "brain"),
        ("QUIET_S", "0"),
        ("POLL_DAYS", "31"),
        ("POTR", "11112"),
    ],
)
def test_an_invalid_variable_is_named(name, value):
    with pytest.raises(SettingsError, match=PREFIX + name):
        read_bridge_settings(REQUIRED | {PREFIX + name: value})


def test_beyond_loopback_callers_must_be_known():
    public = REQUIRED | {f"{PREFIX}HOST": "0.0.0.0"}
    with pytest.raises(SettingsError, match=f"{PREFIX}ALLOWED_CALLERS"):
        read_bridge_settings(public)
    assert read_bridge_settings(public | {f"{PREFIX}ALLOWED_CALLERS": "SCANNER, PACS"}).callers == ["SCANNER", "PACS"]
    certificate = {f"{PREFIX}TLS_{name}": "file.pem" for name in ("CERTIFICATE", "KEY", "CA")}
    assert read_bridge_settings(public | certificate).host == "0.0.0.0"


def test_tls_requires_both_certificate_and_key():
    with pytest.raises(SettingsError, match="expected both"):
        read_bridge_settings(REQUIRED | {f"{PREFIX}TLS_KEY": "key.pem"})


def test_the_service_and_the_bridge_can_share_one_environment():
    environment = REQUIRED | {"GLIOSERVE_PORT": "9000"}
    assert read_settings(environment).port == 9000
    assert read_bridge_settings(environment).port == 11112


def test_the_table_in_the_documentation_matches_the_settings():
    rows = [
        f"| `{name}` | {default} | {what} |" for name, default, what in describe_settings(BridgeSettings, BRIDGE_PREFIX)
    ]
    documented = TABLE.with_name("bridge.md").read_text().splitlines()
    assert [line for line in documented if line.startswith(f"| `{PREFIX}")] == rows
