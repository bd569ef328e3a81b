"""Segments cases with a running service."""

import argparse
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from glioserve_client import AsyncClient, Options, Result
from glioserve_client.case import PackedCase
from glioserve_client.progress import ProgressCallback
from service.command_line.segment.arguments import DEFAULT_URL, UsageError

MAX_CASES = 2  # while one is computed, the service decodes the next; more would only fill its queue


@dataclass(frozen=True)
class RemoteSegmenter:
    """A client of a service."""

    client: AsyncClient
    max_cases: int = MAX_CASES

    async def segment(self, case: PackedCase, options: Options, progress: ProgressCallback) -> Result:
        """The result of a case. Raises GlioServeError or OSError."""
        key = case.idempotency_key(options)
        return await self.client.segment(case.path, options, progress=progress, idempotency_key=key)


def make_client(arguments: argparse.Namespace) -> AsyncClient:
    """The client that the arguments describe. Raises UsageError."""
    key = _read_key(arguments.key_file) if arguments.key_file else None
    tls = _trust(arguments.ca_file) if arguments.ca_file else None
    try:
        return AsyncClient(arguments.url or DEFAULT_URL, key, tls=tls, give_up_after_s=arguments.give_up_after)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _read_key(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeError) as error:
        raise UsageError(f"--key-file: expected a file with an API key, found {path}: {_reason(error)}") from error


def _trust(path: Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=path)
    except OSError as error:
        raise UsageError(f"--ca-file: expected certificates (PEM), found {path}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Why a file cannot be used, without its content."""
    return (error.strerror if isinstance(error, OSError) else None) or "not such a file"


@asynccontextmanager
async def open_service(client: AsyncClient) -> AsyncIterator[RemoteSegmenter]:
    """Connections to a service."""
    async with client:
        yield RemoteSegmenter(client)
