"""Base class of the pydantic models for TOML and JSON files: unknown keys are errors."""

from pydantic import BaseModel, ConfigDict, ValidationError


class StrictModel(BaseModel):
    """An immutable model that rejects unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def describe_errors(error: ValidationError) -> str:
    """Every invalid key with its error, on one line."""
    return "; ".join(f"{'.'.join(map(str, entry['loc'])) or 'all'}: {entry['msg']}" for entry in error.errors())
