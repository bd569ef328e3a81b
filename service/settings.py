"""The service's settings; the only module that knows the environment's names."""

import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Literal, Self, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from service.errors import SettingsError

PREFIX = "GLIOSERVE_"
DEFAULT_WEIGHTS = Path(__file__).parent / "weights" / "default"
MIB = 2**20


class Settings(BaseModel):
    """One field for each environment variable GLIOSERVE_<FIELD>."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=1, le=65535, description="port to listen on")
    weights: Path = Field(DEFAULT_WEIGHTS, description="folder of safetensors files and their cards")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto takes CUDA where there is a card")
    precision: Literal["auto", "float32", "bfloat16", "float16", "int8"] = Field(
        "auto", description="number format of the networks; auto takes the fastest of the device that scores the same"
    )
    device_memory_mib: int = Field(
        2048,
        ge=64,
        description="MiB of a CUDA card to take at most; beyond, smaller batches or the CPU go on, and the report "
        "says degraded",
    )
    threads: int = Field(
        0, ge=0, le=256, description="CPU threads of the networks; 0 takes as many as there are CPUs to use"
    )
    max_upload_mib: int = Field(512, ge=1, description="MiB of the largest request body")
    max_unpacked_mib: int = Field(2048, ge=1, description="MiB of the largest sum of a case's files once unzipped")
    upload_pause_s: float = Field(30, gt=0, description="seconds that a body may pause before its request is ended")
    max_waiting: int = Field(8, ge=1, description="cases that may wait or arrive, beside those that are worked on")
    spool: Path = Field(
        Path("~/.local/state/glioserve"), description="folder, private to the service, of waiting cases and results"
    )
    max_spool_mib: int = Field(8192, ge=1, description="MiB of cases and results on disk at most")
    keep_results_s: float = Field(86400, gt=0, description="seconds that the result of a job is kept on disk")
    audit: Path | None = Field(None, description="file of the audit; audit.jsonl in the spool if not given")
    keys: Path | None = Field(
        None, description="file of API keys, made by `glioserve keys add`; without it nobody needs a key"
    )
    open_to_anyone: bool = Field(
        False, description="true: serve without keys, and without client certificates, beyond the loopback address"
    )
    requests_per_minute: int = Field(600, ge=1, description="requests that each key may make a minute")
    tls_certificate: Path | None = Field(None, description="file of the certificate chain (PEM); with it TLS is on")
    tls_key: Path | None = Field(None, description="file of the certificate's private key (PEM)")
    tls_client_ca: Path | None = Field(
        None, description="file of the authority (PEM) whose certificates clients must show (mutual TLS)"
    )
    trusted_proxies: str = Field(
        "", description="addresses of proxies whose X-Forwarded-For names the client in the audit; separated by commas"
    )
    cors_origins: str = Field(
        "", description="origins, such as https://viewer.hospital.example, whose pages may call; separated by commas"
    )
    metrics: bool = Field(True, description="whether there is /metrics")
    docs: bool = Field(True, description="whether there are /docs and /openapi.json")
    max_starts: int = Field(2, ge=1, description="times that a job is started before it is blamed for the crashes")
    grace_s: float = Field(60, ge=0, description="seconds that running cases get to end when the service is told to")

    @property
    def origins(self) -> list[str]:
        """The origins whose pages may call."""
        return _listed(self.cors_origins)

    @property
    def proxies(self) -> list[str]:
        """The addresses, or networks, of the proxies that are believed."""
        return _listed(self.trusted_proxies)

    @property
    def for_this_machine(self) -> bool:
        """Whether nobody needs a key or a certificate, and nobody said that others than this machine may call."""
        return not (self.keys or self.tls_client_ca or self.open_to_anyone)

    @model_validator(mode="after")
    def _is_safe(self) -> Self:
        """Nobody gets in by an oversight."""
        if odd := [origin for origin in self.origins if not re.fullmatch(r"https?://[^/\s]+|\*", origin)]:
            raise ValueError(f"GLIOSERVE_CORS_ORIGINS: expected origins, such as https://a.example, found {odd[0]}")
        if odd := [proxy for proxy in self.proxies if not _is_network(proxy)]:
            raise ValueError(f"GLIOSERVE_TRUSTED_PROXIES: expected addresses, such as 127.0.0.1, found {odd[0]}")
        if bool(self.tls_certificate) != bool(self.tls_key) or (self.tls_client_ca and not self.tls_certificate):
            raise ValueError(
                "GLIOSERVE_TLS_CERTIFICATE, GLIOSERVE_TLS_KEY: expected both, also for GLIOSERVE_TLS_CLIENT_CA, "
                "found one missing"
            )
        if self.for_this_machine and not is_loopback(self.host):
            raise ValueError(
                f"GLIOSERVE_HOST: expected a loopback address, as GLIOSERVE_KEYS names no keys, found {self.host}. "
                "Make one with `glioserve keys add NAME`, or set GLIOSERVE_OPEN_TO_ANYONE=true to serve whoever asks"
            )
        return self


def read_settings(environment: Mapping[str, str]) -> Settings:
    """The settings in an environment, where an empty variable counts as absent.

    Raises SettingsError for an unknown or unusable GLIOSERVE_ variable.
    """
    given = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in environment.items()
        if name.startswith(PREFIX) and value
    }
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        raise SettingsError("\n".join(map(_complaint, error.errors()))) from error


def read_settings_offline(environment: Mapping[str, str]) -> Settings:
    """The settings for what listens nowhere, and so needs no keys. Raises SettingsError."""
    return read_settings({**environment, f"{PREFIX}HOST": ""})


def describe_settings() -> Iterator[tuple[str, str, str]]:
    """Variable, default and description of every setting."""
    for name, field in Settings.model_fields.items():
        default = "the bundled weights" if field.default == DEFAULT_WEIGHTS else _written(field.default)
        is_choice = get_origin(field.annotation) is Literal
        choices = f"; one of {', '.join(get_args(field.annotation))}" if is_choice else ""
        yield PREFIX + name.upper(), default, f"{field.description}{choices}"


def _listed(words: str) -> list[str]:
    return [word.strip() for word in words.split(",") if word.strip()]


def _written(default: object) -> str:
    """A default as it would be written into the environment."""
    return "" if default is None else str(default).lower() if isinstance(default, bool) else str(default)


def _complaint(fault: ErrorDetails) -> str:
    if not fault["loc"]:
        return fault["msg"].removeprefix("Value error, ") + "."
    name = f"{PREFIX}{str(fault['loc'][0]).upper()}"
    return f"{name}: expected no such variable" if fault["type"] == "extra_forbidden" else f"{name}: {fault['msg']}"


def _is_network(address: str) -> bool:
    try:
        ip_network(address)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether a name or address means this machine, whoever asks."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
