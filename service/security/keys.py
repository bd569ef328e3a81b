"""API keys: created and revoked by `glioserve keys`; the service stores only their hashes."""

import fcntl
import logging
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import TextIO

from pydantic import BaseModel, ConfigDict, ValidationError

from service.errors import SettingsError
from service.security.append_only import append_line

log = logging.getLogger("uvicorn.error")

PRIVATE_FILE = 0o600
NAME = re.compile(r"[\w.-]{1,64}", re.ASCII)
KEY = re.compile(r"glio_([0-9a-f]{8})_[\w-]{43}", re.ASCII)
NO_HASH = "0" * 64


class Scope(StrEnum):
    """What an API key permits."""

    SEGMENT = "segment"  # send cases, and see and remove the resulting jobs
    READ = "read"  # see the model cards and the metrics
    ADMIN = "admin"  # both, and the jobs of every key


class Key(BaseModel):
    """What is stored about an API key; the key itself is known only to its user."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    name: str
    scopes: tuple[Scope, ...]
    sha256: str
    created: datetime
    revoked: datetime | None = None


class KeyFile:
    """API keys, one per line. Lines are only appended; the last line for an id is the valid one."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, Key]:
        """All keys by id, including revoked ones. Raises SettingsError if the file is missing or invalid."""
        with self._settings_errors(), self.path.open() as file:
            return _parse(file)

    def add(self, name: str, scopes: Iterable[Scope]) -> str:
        """Create a key and return its only copy. Raises SettingsError, also for a duplicate or invalid name."""
        if not NAME.fullmatch(name):
            raise SettingsError(f"NAME: expected 1 to 64 of A-Z a-z 0-9 _ . -, found {name!r}.")
        key_id = secrets.token_hex(4)
        key = f"glio_{key_id}_{secrets.token_urlsafe(32)}"
        with self._settings_errors(), self._locked(os.O_CREAT) as file:
            if any(name in (known.id, known.name) and not known.revoked for known in _parse(file).values()):
                raise SettingsError(f"NAME: expected a new one, found an active API key named {name}.")
            _append(file, Key(id=key_id, name=name, scopes=tuple(scopes), sha256=_hash(key), created=datetime.now(UTC)))
        return key

    def revoke(self, name_or_id: str) -> Key:
        """Revoke a key and return it. Raises SettingsError, also if no active key has this name or id."""
        with self._settings_errors(), self._locked() as file:
            active = [known for known in _parse(file).values() if not known.revoked]
            for known in active:
                if name_or_id in (known.id, known.name):
                    _append(file, known.model_copy(update={"revoked": datetime.now(UTC)}))
                    return known
        raise SettingsError(f"NAME: expected the name or id of an active API key, found {name_or_id!r}.")

    @contextmanager
    def _locked(self, flags: int = 0) -> Iterator[TextIO]:
        """The open file, locked against concurrent changes."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | flags, PRIVATE_FILE)
        with os.fdopen(descriptor, "a+") as file:  # closing it releases the lock
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file

    @contextmanager
    def _settings_errors(self) -> Iterator[None]:
        """Translate errors about the file."""
        try:
            yield
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise SettingsError(
                f"GLIOSERVE_KEYS_FILE: expected a file created by `glioserve keys add`, found {self.path}: {reason}."
            ) from error


class Keys:
    """The current keys of a file, which is read again when it changes."""

    def __init__(self, path: Path) -> None:
        self._file = KeyFile(path)
        self._keys: dict[str, Key] = {}
        self._version: tuple[int, ...] = ()

    def load(self) -> None:
        """Read the file. Raises SettingsError."""
        self._keys = self._file.read()

    def find(self, key: str) -> Key | None:
        """The active key that a client sent; None for an unknown or revoked one."""
        self._reload()
        match = KEY.fullmatch(key)
        known = self._keys.get(match[1]) if match else None
        # Compared in constant time, also for unknown keys. A key has as much entropy as its hash, so a slow hash
        # function would add no protection.
        is_right = secrets.compare_digest(_hash(key), known.sha256 if known else NO_HASH)
        return known if is_right and known and not known.revoked else None

    def _reload(self) -> None:
        try:
            status = self._file.path.stat()
            version = status.st_mtime_ns, status.st_size, status.st_ino
            if version != self._version:
                self._version = version
                self.load()
        except (OSError, SettingsError) as error:
            log.error("The API keys that were read last stay active: %s", error)


def _parse(file: TextIO) -> dict[str, Key]:
    """Keys by id. Raises ValueError for an invalid line."""
    file.seek(0)
    keys = {}
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            key = Key.model_validate_json(line)
        except ValidationError as error:
            raise ValueError(f"line {number} is not an API key") from error
        keys[key.id] = key
    return keys


def _append(file: TextIO, key: Key) -> None:
    append_line(file.fileno(), key.model_dump_json().encode())
    os.fsync(file.fileno())


def _hash(key: str) -> str:
    return sha256(key.encode()).hexdigest()
