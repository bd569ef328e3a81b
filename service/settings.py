"""The service's settings; the only module that knows the environment's names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.errors import SettingsError

PREFIX = "GLIOSERVE_"
DEFAULT_WEIGHTS = Path(__file__).parent / "weights" / "default"
MIB = 2**20


class Settings(BaseModel):
    """One field for each environment variable GLIOSERVE_<FIELD>."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=1, le=65535, description="port to listen on")
    weights: Path = Field(DEFAULT_WEIGHTS, description="folder of safetensors files and their cards")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto takes CUDA where there is a card")
    precision: Literal["auto", "float32", "bfloat16", "float16", "int8"] = Field(
        "auto", description="auto takes the fastest of the device whose masks score the same"
    )
    device_memory_mib: int = Field(2048, ge=64, description="most of a CUDA card's memory to take")
    threads: int = Field(0, ge=0, description="CPU threads of the networks; 0 takes as many as there are CPUs to use")
    max_upload_mib: int = Field(512, ge=1, description="largest request body")
    max_unpacked_mib: int = Field(2048, ge=1, description="largest sum of a case's files once unzipped")


def read_settings(environment: Mapping[str, str]) -> Settings:
    """The settings in an environment; raises SettingsError for an unknown or unusable GLIOSERVE_ variable."""
    given = {name.removeprefix(PREFIX).lower(): value for name, value in environment.items() if name.startswith(PREFIX)}
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        lines = [f"{PREFIX}{str(fault['loc'][0]).upper()}: {fault['msg']}" for fault in error.errors()]
        raise SettingsError("\n".join(lines)) from error
