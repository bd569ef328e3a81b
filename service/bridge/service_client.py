"""The segmentation service, as the bridge uses it: over HTTP, like any client."""

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import requests

from service.bridge.errors import LostJobError, Peer, PeerError, RefusedError, StudyError
from service.bridge.settings import BridgeSettings

TIMEOUT_S = (5, 120)  # to connect; between two pieces of a response
PROBLEM_PREFIX = "urn:glioserve:problem:"
JOB_NOT_FOUND = "job-not-found"
# The service refuses these for a reason that has nothing to do with the study, such as a key that was revoked.
TEMPORARY = {
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_MANY_REQUESTS,
}


class ServiceClient:
    """Sends studies as jobs and fetches their results."""

    def __init__(self, settings: BridgeSettings) -> None:
        """Raises OSError if the file of the API key cannot be read."""
        self._address, self._options = settings.service.rstrip("/"), settings.options
        self._session = requests.Session()
        self._session.verify = str(settings.tls_ca) if settings.tls_ca else True
        if settings.api_key_file:
            self._session.headers["Authorization"] = f"Bearer {settings.api_key_file.read_text().strip()}"

    def submit(self, archive: Path, idempotency_key: str) -> str:
        """Send a zip as a job and return the path of the job. Raises PeerError, RefusedError or StudyError."""
        query = "&".join(filter(None, ("output=dicom", self._options)))
        headers = {
            "Content-Type": "application/zip",
            "Prefer": "respond-async",
            "Idempotency-Key": idempotency_key,
        }
        with archive.open("rb") as body:
            response = self._request("POST", f"/segment?{query}", data=body, headers=headers)
        return response.headers["Location"]

    def is_done(self, job: str) -> bool:
        """Whether a job has a result. Raises PeerError, RefusedError, LostJobError, or StudyError if it failed."""
        status = self._request_job("GET", job).json()
        if status["state"] == "failed":
            raise StudyError(_name(status["problem"]))
        return bool(status["state"] == "done")

    def fetch_result(self, job: str) -> bytes:
        """The result of a job that is done, a zip. Raises PeerError, RefusedError, LostJobError or StudyError."""
        return self._request_job("GET", f"{job}/result").content

    def remove(self, job: str) -> None:
        """Cancel a job, and remove its result. Raises PeerError, RefusedError or LostJobError."""
        self._request_job("DELETE", job)

    def _request_job(self, method: str, path: str) -> requests.Response:
        response = self._send(method, path)
        if response.status_code == HTTPStatus.NOT_FOUND and _problem_of(response) == JOB_NOT_FOUND:
            raise LostJobError
        return _checked(response)

    def _request(self, method: str, path: str, **options: Any) -> requests.Response:
        return _checked(self._send(method, path, **options))

    def _send(self, method: str, path: str, **options: Any) -> requests.Response:
        with network_errors(Peer.SERVICE):
            return self._session.request(method, self._address + path, timeout=TIMEOUT_S, **options)


@contextmanager
def network_errors(peer: Peer) -> Iterator[None]:
    """Translate errors of HTTP connections; only their type is kept, as addresses may contain UIDs."""
    try:
        yield
    except requests.HTTPError as error:
        raise RefusedError(f"status {str(error)[:3]}") from error  # an address follows, which may contain UIDs
    except (requests.RequestException, OSError) as error:
        raise PeerError(peer, type(error).__name__) from error


def _checked(response: requests.Response) -> requests.Response:
    """A response that is a success. Raises RefusedError or StudyError."""
    if response.ok:
        return response
    problem = _problem_of(response) or f"status {response.status_code}"
    if response.status_code in TEMPORARY or response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise RefusedError(problem)
    raise StudyError(problem)


def _problem_of(response: requests.Response) -> str:
    try:
        return _name(response.json())
    except (requests.JSONDecodeError, KeyError, TypeError):
        return ""


def _name(problem: dict[str, Any]) -> str:
    return str(problem["type"]).removeprefix(PROBLEM_PREFIX)
