"""The base of what is read from TOML and JSON files: no unknown keys, and errors in one line."""

from pydantic import BaseModel, ConfigDict, ValidationError


class Table(BaseModel):
    """A table of a file; a key that it does not know is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def problems(error: ValidationError) -> str:
    """What is wrong with which keys, in one line."""
    return "; ".join(f"{'.'.join(map(str, entry['loc'])) or 'all'}: {entry['msg']}" for entry in error.errors())
