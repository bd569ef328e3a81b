"""API keys: made and revoked by `glioserve keys`, known to the service by their hashes alone."""

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
from service.lines import append_line

log = logging.getLogger("uvicorn.error")

PRIVATE_FILE = 0o600
NAME = re.compile(r"[\w.-]{1,64}", re.ASCII)
KEY = re.compile(r"glio_([0-9a-f]{8})_[\w-]{43}", re.ASCII)
NO_HASH = "0" * 64


class Scope(StrEnum):
    """What a key may be good for."""

    SEGMENT = "segment"  # to send cases, and to see and remove the jobs that came of them
    READ = "read"  # to see the cards of the weights, and the metrics
    ADMIN = "admin"  # both, and the jobs of every key


class Key(BaseModel):
    """What is known of a key; the key itself nobody has but its user."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    name: str
    scopes: tuple[Scope, ...]
    sha256: str
    created: datetime
    revoked: datetime | None = None


class KeyFile:
    """Keys, one a line. Lines are only ever added, and the last one of an id counts: no change undoes another."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, Key]:
        """Every key that ever was, by its id. Raises SettingsError where there is no such file, or another."""
        with self._translated(), self.path.open() as file:
            return _parse(file)

    def add(self, name: str, scopes: Iterable[Scope]) -> str:
        """Make a key; gives the only copy of it. Raises SettingsError, also for a name that is taken or unusable."""
        if not NAME.fullmatch(name):
            raise SettingsError(f"NAME: expected 1 to 64 of A-Z a-z 0-9 _ . -, found {name!r}.")
        key_id = secrets.token_hex(4)
        key = f"glio_{key_id}_{secrets.token_urlsafe(32)}"
        with self._translated(), self._locked(os.O_CREAT) as file:
            if any(name in (known.id, known.name) and not known.revoked for known in _parse(file).values()):
                raise SettingsError(f"NAME: expected a new one, found that a key is called {name}.")
            _append(file, Key(id=key_id, name=name, scopes=tuple(scopes), sha256=_hash(key), created=datetime.now(UTC)))
        return key

    def revoke(self, name_or_id: str) -> Key:
        """Make a key good for nothing; gives it. Raises SettingsError, also where no key in force is called so."""
        with self._translated(), self._locked() as file:
            in_force = [known for known in _parse(file).values() if not known.revoked]
            for known in in_force:
                if name_or_id in (known.id, known.name):
                    _append(file, known.model_copy(update={"revoked": datetime.now(UTC)}))
                    return known
        raise SettingsError(f"NAME: expected the name or id of a key in force, found {name_or_id!r}.")

    @contextmanager
    def _locked(self, flags: int = 0) -> Iterator[TextIO]:
        """The file, which nobody else changes meanwhile."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | flags, PRIVATE_FILE)
        with os.fdopen(descriptor, "a+") as file:  # closed, it is unlocked
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise SettingsError(
                f"GLIOSERVE_KEYS: expected a file that `glioserve keys add` made, found {self.path}: {reason}."
            ) from error


class Keys:
    """The keys of a file as they are now: it is read again when it has changed."""

    def __init__(self, path: Path) -> None:
        self._file = KeyFile(path)
        self._keys: dict[str, Key] = {}
        self._seen: tuple[int, ...] = ()

    def load(self) -> None:
        """Read the file. Raises SettingsError."""
        self._keys = self._file.read()

    def find(self, key: str) -> Key | None:
        """The key that a client sent, if it is one in force."""
        self._reload()
        match = KEY.fullmatch(key)
        known = self._keys.get(match[1]) if match else None
        # In the same time whether it is known or not, and however much of it is right. A key is as random as its hash:
        # one that takes long to compute would protect nothing.
        is_right = secrets.compare_digest(_hash(key), known.sha256 if known else NO_HASH)
        return known if is_right and known and not known.revoked else None

    def _reload(self) -> None:
        try:
            status = self._file.path.stat()
            seen = status.st_mtime_ns, status.st_size, status.st_ino
            if seen != self._seen:
                self._seen = seen
                self.load()
        except (OSError, SettingsError) as error:
            log.error("The keys that were read last stay in force: %s", error)


def _parse(file: TextIO) -> dict[str, Key]:
    """Keys by id. Raises ValueError for a line that is none."""
    file.seek(0)
    keys = {}
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            key = Key.model_validate_json(line)
        except ValidationError as error:
            raise ValueError(f"line {number} is no key") from error
        keys[key.id] = key
    return keys


def _append(file: TextIO, key: Key) -> None:
    append_line(file.fileno(), key.model_dump_json().encode())
    os.fsync(file.fileno())


def _hash(key: str) -> str:
    return sha256(key.encode()).hexdigest()
