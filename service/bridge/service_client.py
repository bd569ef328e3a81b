"""The segmentation service, as the bridge uses it: over HTTP, like any client."""

from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, cast
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import requests

from service.bridge.errors import LostJobError, Peer, RefusedError, StudyError
from service.bridge.http import TIMEOUT_S, network_errors, open_session
from service.bridge.settings import BridgeSettings, read_secret

PROBLEM_PREFIX = "urn:glioserve:problem:"
JOB_NOT_FOUND, TOO_LARGE = "job-not-found", "too-large"
COMPRESSION_LEVEL = 1  # half the size of uncompressed images, in a tenth of the time of higher levels


class ServiceClient:
    """Sends studies as jobs and fetches their results. All methods raise PeerError or RefusedError."""

    def __init__(self, settings: BridgeSettings) -> None:
        """Raises SettingsError if the file of the API key cannot be read."""
        self._address = settings.service.rstrip("/")
        self._query = "&".join(filter(None, ("output=dicom", settings.options)))
        self._session = open_session(settings)
        if settings.api_key_file:
            self._session.headers["Authorization"] = f"Bearer {read_secret('API_KEY_FILE', settings.api_key_file)}"

    def submit(self, images: Sequence[Path]) -> str:
        """Send images as a job and return the path of the job. The same images give the same job.

        Raises StudyError if they are too large together.
        """
        headers = {
            "Content-Type": "application/zip",
            "Prefer": "respond-async",
            "Idempotency-Key": _hash(images, self._query),
        }
        response = self._send("POST", f"/segment?{self._query}", data=_zip(images), headers=headers)
        if _problem_of(response) == TOO_LARGE:
            raise StudyError(TOO_LARGE)
        return _checked(response).headers["Location"]

    def is_done(self, job: str) -> bool:
        """Whether a job has a result. Raises LostJobError, or StudyError if it failed."""
        status = self._request_job("GET", job).json()
        if status["state"] == "failed":
            raise StudyError(_name(status["problem"]))
        return bool(status["state"] == "done")

    def fetch_result(self, job: str) -> bytes:
        """The result of a job that is done, a zip. Raises LostJobError."""
        return self._request_job("GET", f"{job}/result").content

    def remove(self, job: str) -> None:
        """Cancel a job, and remove its result. Raises LostJobError."""
        self._request_job("DELETE", job)

    def _request_job(self, method: str, path: str) -> requests.Response:
        response = self._send(method, path)
        if _problem_of(response) == JOB_NOT_FOUND:
            raise LostJobError
        return _checked(response)

    def _send(self, method: str, path: str, **options: Any) -> requests.Response:
        with network_errors(Peer.SERVICE):
            return self._session.request(method, self._address + path, timeout=TIMEOUT_S, **options)


def _checked(response: requests.Response) -> requests.Response:
    """A response that is a success. Raises RefusedError."""
    if not response.ok:
        raise RefusedError(_problem_of(response) or f"status {response.status_code}")
    return response


def _problem_of(response: requests.Response) -> str:
    """The type of the problem in a response; empty if there is none."""
    try:
        return "" if response.ok else _name(response.json())
    except (requests.JSONDecodeError, KeyError, TypeError):
        return ""


def _name(problem: dict[str, Any]) -> str:
    return str(problem["type"]).removeprefix(PROBLEM_PREFIX)


def _hash(images: Sequence[Path], query: str) -> str:
    digest = sha256(query.encode())
    for image in images:
        digest.update(sha256(image.read_bytes()).digest())
    return digest.hexdigest()


def _zip(images: Sequence[Path]) -> Iterator[bytes]:
    """A zip of images, piece by piece: it takes no disk space, and the memory of one image."""
    output = _Output()
    with ZipFile(cast(Any, output), "w", ZIP_DEFLATED) as archive:
        for image in images:
            entry = ZipInfo(f"{image.name}.dcm")
            archive.writestr(entry, image.read_bytes(), ZIP_DEFLATED, COMPRESSION_LEVEL)
            yield output.take()
    yield output.take()


class _Output:
    """What zipfile needs of a file that it writes from start to end."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def write(self, data: bytes) -> int:
        """Append to what is taken next."""
        self._buffer += data
        return len(data)

    def flush(self) -> None:
        """Nothing: zipfile calls it after each entry."""

    def take(self) -> bytes:
        """What was written since the last call."""
        taken = bytes(self._buffer)
        self._buffer.clear()
        return taken
