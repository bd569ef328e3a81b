"""The settings of the bridge."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator

from service.errors import SettingsError
from service.settings import BRIDGE_PREFIX, is_loopback, read_variables, split_list

AE_TITLE = re.compile(r"[!-\[\]-~]{1,16}")  # visible ASCII without the backslash (DICOM PS3.5, AE)
DICOM, DICOM_TLS = "dicom", "dicom-tls"  # schemes of addresses of DICOM nodes
HTTP_SCHEMES = ("http", "https")
COMMAND = "glioserve bridge"


class BridgeSettings(BaseModel):
    """One field for each environment variable GLIOSERVE_BRIDGE_<FIELD>."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    send_to: str = Field(
        description="archive that gets the results: dicom://AE_TITLE@HOST:PORT (C-STORE), the same with dicom-tls, or "
        "the http(s) address of its DICOMweb service (STOW-RS)"
    )
    service: str = Field("http://127.0.0.1:8000", description="address of the segmentation service")
    api_key_file: Path | None = Field(None, description="file with the API key for the service")
    options: str = Field("", description="query parameters of POST /segment, for example allow_missing=true")
    folder: Path = Field(Path("~/.local/state/glioserve-bridge"), description="private folder for studies in progress")
    max_folder_mib: int = Field(20480, ge=1, description="maximum disk space of the folder in MiB")
    ae_title: str = Field("GLIOSERVE", description="AE title of the bridge")
    host: str = Field("127.0.0.1", description="address to listen on for DICOM associations")
    port: int = Field(11112, ge=1, le=65535, description="port to listen on for DICOM associations")
    allowed_callers: str = Field(
        "",
        description="AE titles that may connect, comma-separated; empty allows all, on a loopback address or with TLS",
    )
    tls_certificate: Path | None = Field(None, description="certificate chain (PEM); enables TLS for associations")
    tls_key: Path | None = Field(None, description="private key of the certificate (PEM)")
    tls_ca: Path | None = Field(
        None,
        description="certificate authority (PEM) of callers, who then need a certificate, and of a dicom-tls archive",
    )
    quiet_s: float = Field(60, gt=0, description="seconds without a new image after which a study counts as complete")
    keep_failed_s: float = Field(
        3600, ge=0, description="seconds for which images of a failed study wait for images that complete it"
    )
    poll: str = Field(
        "", description="http(s) address of a DICOMweb service that is searched for new studies (QIDO-RS)"
    )
    poll_interval_s: float = Field(60, gt=0, description="seconds between two searches")
    poll_days: int = Field(1, ge=0, le=30, description="age in days of the oldest studies that are searched for")
    poll_filter: str = Field(
        "", description="further search parameters (QIDO-RS), for example StudyDescription=*brain*"
    )
    authorization_file: Path | None = Field(
        None, description="file with the value of the Authorization header for DICOMweb, for example Basic dXNlcjpw..."
    )
    http_ca: Path | None = Field(
        None, description="certificate authority (PEM) of the service and of DICOMweb services; default: public ones"
    )
    monitoring_host: str = Field("127.0.0.1", description="address to listen on for /livez and /metrics")
    monitoring_port: int = Field(8001, ge=1, le=65535, description="port to listen on for /livez and /metrics")

    @property
    def callers(self) -> list[str]:
        """AE titles that may connect; empty if all may."""
        return split_list(self.allowed_callers)

    @model_validator(mode="after")
    def _is_usable(self) -> Self:
        """Reject settings that are malformed, unsafe or contradictory."""
        _check_address("SEND_TO", self.send_to, (DICOM, DICOM_TLS, *HTTP_SCHEMES))
        _check_address("SERVICE", self.service, HTTP_SCHEMES)
        if self.poll:
            _check_address("POLL", self.poll, HTTP_SCHEMES)
        _check_title("AE_TITLE", self.ae_title)
        for caller in self.callers:
            _check_title("ALLOWED_CALLERS", caller)
        _check_parameters("OPTIONS", self.options)
        _check_parameters("POLL_FILTER", self.poll_filter)
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise ValueError(f"{BRIDGE_PREFIX}TLS_CERTIFICATE, {BRIDGE_PREFIX}TLS_KEY: expected both, found one")
        if not (self.callers or (self.tls_certificate and self.tls_ca) or is_loopback(self.host)):
            raise ValueError(
                f"{BRIDGE_PREFIX}HOST: expected a loopback address, as neither {BRIDGE_PREFIX}ALLOWED_CALLERS nor TLS "
                f"with {BRIDGE_PREFIX}TLS_CA is set, found {self.host}"
            )
        return self


def read_bridge_settings(environment: Mapping[str, str]) -> BridgeSettings:
    """Read the bridge's settings. Raises SettingsError for an unknown, missing or invalid variable."""
    return read_variables(BridgeSettings, BRIDGE_PREFIX, environment, COMMAND)


def read_secret(name: str, path: Path) -> str:
    """The content of a file that a setting names. Raises SettingsError if it is unreadable or empty."""
    try:
        secret = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{BRIDGE_PREFIX}{name}: expected a readable file, found {error}.") from error
    if not secret:
        raise SettingsError(f"{BRIDGE_PREFIX}{name}: expected a file with one line, found an empty one: {path}.")
    return secret


def _check_address(name: str, address: str, schemes: tuple[str, ...]) -> None:
    expected = " or ".join(f"{scheme}://" for scheme in schemes)
    try:
        parts = urlsplit(address)
        port = parts.port  # None if there is none; an invalid one raises
    except ValueError:
        raise ValueError(f"{BRIDGE_PREFIX}{name}: expected a port from 0 to 65535, found {address}") from None
    if parts.scheme not in schemes or not parts.hostname:
        raise ValueError(f"{BRIDGE_PREFIX}{name}: expected an address that starts with {expected}, found {address}")
    if parts.scheme in (DICOM, DICOM_TLS):
        if not (port and AE_TITLE.fullmatch(parts.username or "")):
            raise ValueError(f"{BRIDGE_PREFIX}{name}: expected {parts.scheme}://AE_TITLE@HOST:PORT, found {address}")
    elif parts.username or parts.password:
        raise ValueError(f"{BRIDGE_PREFIX}{name}: expected no password in the address, found one")


def _check_title(name: str, title: str) -> None:
    if not AE_TITLE.fullmatch(title):
        raise ValueError(f"{BRIDGE_PREFIX}{name}: expected 1 to 16 visible ASCII characters, found {title}")


def _check_parameters(name: str, text: str) -> None:
    if not all("=" in pair for pair in text.split("&") if text):
        raise ValueError(f"{BRIDGE_PREFIX}{name}: expected name=value pairs joined by &, found {text}")
