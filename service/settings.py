"""The service's settings, and how settings are read from environment variables; no other module reads their values."""

import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Literal, Self, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticUndefined

from service.errors import SettingsError

PREFIX = "GLIOSERVE_"
BRIDGE_PREFIX = "GLIOSERVE_BRIDGE_"  # of the settings of the bridge, so that both can share one environment
DEFAULT_WEIGHTS = Path(__file__).parent / "weights" / "default"
MIB = 2**20
S = TypeVar("S", bound=BaseModel)


class Settings(BaseModel):
    """One field for each environment variable GLIOSERVE_<FIELD>."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=1, le=65535, description="port to listen on")
    weights: Path = Field(DEFAULT_WEIGHTS, description="folder with safetensors files and their model cards")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto uses CUDA if there is a usable GPU")
    precision: Literal["auto", "float32", "bfloat16", "float16", "int8"] = Field(
        "auto",
        description="data type of the networks; auto chooses one by the CPU's instruction set, or float16 on a GPU",
    )
    device_memory_mib: int = Field(
        2048,
        ge=64,
        description="limit on GPU memory in MiB; if it is reached, smaller batches or the CPU are used, and the report "
        "says degraded",
    )
    threads: int = Field(0, ge=0, le=256, description="CPU threads of the networks; 0 means all available CPUs")
    max_upload_mib: int = Field(512, ge=1, description="maximum size of a request body in MiB")
    max_unpacked_mib: int = Field(
        2048, ge=1, description="maximum total size of a case's files after unzipping, in MiB"
    )
    upload_idle_timeout_s: float = Field(30, gt=0, description="seconds without data after which an upload is aborted")
    queue_size: int = Field(8, ge=1, description="maximum number of cases that wait or are being uploaded")
    spool: Path = Field(Path("~/.local/state/glioserve"), description="private folder for waiting cases and results")
    max_spool_mib: int = Field(8192, ge=1, description="maximum disk space of cases and results in MiB")
    result_retention_s: float = Field(86400, gt=0, description="seconds for which a job's result is kept")
    audit_log: Path | None = Field(None, description="audit log file; default: audit.jsonl in the spool")
    keys_file: Path | None = Field(
        None, description="file of API keys, created by `glioserve keys add`; without it no key is required"
    )
    allow_unauthenticated: bool = Field(
        False, description="true allows listening on non-loopback addresses without API keys or client certificates"
    )
    requests_per_minute: int = Field(600, ge=1, description="rate limit of each API key")
    tls_certificate: Path | None = Field(None, description="certificate chain (PEM); enables TLS")
    tls_key: Path | None = Field(None, description="private key of the certificate (PEM)")
    tls_client_ca: Path | None = Field(
        None, description="certificate authority (PEM) of client certificates; enables mutual TLS"
    )
    trusted_proxies: str = Field(
        "", description="addresses or networks (CIDR) of proxies whose X-Forwarded-For is used; comma-separated"
    )
    cors_origins: str = Field(
        "",
        description="origins allowed to call from a browser, such as https://viewer.hospital.example; comma-separated",
    )
    metrics: bool = Field(True, description="enables /metrics")
    docs: bool = Field(True, description="enables /docs and /openapi.json")
    page: bool = Field(True, description="enables the page at / that sends cases and shows their results")
    max_attempts: int = Field(
        2, ge=1, description="a job fails once the service has crashed this many times while working on it"
    )
    shutdown_grace_s: float = Field(60, ge=0, description="seconds that running cases may take to finish at shutdown")

    @property
    def origins(self) -> list[str]:
        """Origins that may call from a browser."""
        return split_list(self.cors_origins)

    @property
    def proxies(self) -> list[str]:
        """Addresses or networks of the trusted proxies."""
        return split_list(self.trusted_proxies)

    @property
    def is_loopback_only(self) -> bool:
        """Whether requests need no authentication, and only requests to a loopback address are allowed."""
        return not (self.keys_file or self.tls_client_ca or self.allow_unauthenticated)

    @model_validator(mode="after")
    def _is_safe(self) -> Self:
        """Reject settings that would expose the service without authentication, or that contradict each other."""
        if invalid := [origin for origin in self.origins if not re.fullmatch(r"https?://[^/\s]+|\*", origin)]:
            raise ValueError(f"GLIOSERVE_CORS_ORIGINS: expected origins, such as https://a.example, found {invalid[0]}")
        if invalid := [proxy for proxy in self.proxies if not _is_network(proxy)]:
            raise ValueError(f"GLIOSERVE_TRUSTED_PROXIES: expected addresses, such as 127.0.0.1, found {invalid[0]}")
        if bool(self.tls_certificate) != bool(self.tls_key) or (self.tls_client_ca and not self.tls_certificate):
            raise ValueError(
                "GLIOSERVE_TLS_CERTIFICATE, GLIOSERVE_TLS_KEY: expected both or neither, and both if "
                "GLIOSERVE_TLS_CLIENT_CA is set, found at least one missing"
            )
        if self.is_loopback_only and not is_loopback(self.host):
            raise ValueError(
                f"GLIOSERVE_HOST: expected a loopback address, as GLIOSERVE_KEYS_FILE is not set, found {self.host}. "
                "Create an API key with `glioserve keys add NAME`, or set GLIOSERVE_ALLOW_UNAUTHENTICATED=true"
            )
        return self


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Read the service's settings. Raises SettingsError for an unknown or invalid variable."""
    own = {name: value for name, value in environment.items() if not name.startswith(BRIDGE_PREFIX)}
    return read_variables(Settings, PREFIX, own, "glioserve serve")


def read_variables(model: type[S], prefix: str, environment: Mapping[str, str], command: str) -> S:
    """Read the fields of a model from environment variables of a prefix; an empty variable counts as unset.

    Raises SettingsError for an unknown or invalid variable; the help of `command` lists those that exist.
    """
    given = {
        name.removeprefix(prefix).lower(): value
        for name, value in environment.items()
        if name.startswith(prefix) and value
    }
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise SettingsError("\n".join(_describe_error(item, prefix, command) for item in error.errors())) from error


def read_settings_offline(environment: Mapping[str, str]) -> Settings:
    """Read settings for a command that does not listen, and so needs no API keys. Raises SettingsError."""
    return read_settings({**environment, f"{PREFIX}HOST": ""})


def describe_settings(model: type[BaseModel] = Settings, prefix: str = PREFIX) -> Iterator[tuple[str, str, str]]:
    """Variable, default and description of every setting."""
    for name, field in model.model_fields.items():
        default = "the bundled weights" if field.default == DEFAULT_WEIGHTS else _as_variable(field.default)
        is_choice = get_origin(field.annotation) is Literal
        choices = f"; one of {', '.join(get_args(field.annotation))}" if is_choice else ""
        yield prefix + name.upper(), default, f"{field.description}{choices}"


def is_loopback(host: str) -> bool:
    """Whether a name or address always refers to the machine itself."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def split_list(items: str) -> list[str]:
    """The items of a comma-separated list."""
    return [item.strip() for item in items.split(",") if item.strip()]


def _as_variable(default: object) -> str:
    """A default value as it would be written in the environment."""
    return (
        ""
        if default in (None, PydanticUndefined)
        else str(default).lower()
        if isinstance(default, bool)
        else str(default)
    )


def _describe_error(error: ErrorDetails, prefix: str, command: str) -> str:
    if not error["loc"]:
        return error["msg"].removeprefix("Value error, ") + "."
    name = f"{prefix}{str(error['loc'][0]).upper()}"
    return (
        f"{name}: unknown setting; `{command} --help` lists all"
        if error["type"] == "extra_forbidden"
        else f"{name}: {error['msg']}"
    )


def _is_network(address: str) -> bool:
    try:
        ip_network(address)
    except ValueError:
        return False
    return True
