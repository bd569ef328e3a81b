"""Requests to the API, and what their responses hold."""

import gzip
import json
import os
import re
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import httpx2
import nibabel as nib
from fastapi.testclient import TestClient

from support.known_networks import GatedNetwork
from support.running_service import wait_until

ASYNC = {"Prefer": "respond-async"}
ACCEPT_MASK = {"Accept": "application/gzip"}
SECONDS_TO_SEND = 0.5  # a request from another thread
LEAK = re.compile(r"(^|[\s'\"])/|\.py\b|Traceback|phantom")  # a path, a traceback or the name of a file

Client = httpx2.Client | TestClient


def post_case(client: Client, body: bytes, query: str = "", **headers: str) -> httpx2.Response:
    """Send a zipped case to POST /segment."""
    return client.post(f"/segment{query}", files={"file": ("case.zip", body)}, headers=headers)


def submit_case(client: Client, body: bytes, **headers: str) -> str:
    """Submit a zipped case as an asynchronous job and return the path of the job."""
    response = post_case(client, body, **ASYNC, **headers)
    assert response.status_code == 202, response.text
    assert response.headers["Preference-Applied"] == "respond-async"
    return response.headers["Location"]


def wait_for_job(client: Client, job: str) -> dict[str, Any]:
    """Wait until a job is done or failed and return its status."""
    wait_until(lambda: client.get(job).json()["state"] in ("done", "failed"))
    client.get(f"{job}/events")  # ends only once the job is stored and counted
    return client.get(job).json()


def fill_queue(gate: GatedNetwork, client: TestClient, body: bytes) -> list[str]:
    """Submit four jobs: one that waits at the gate, one that is decoded, and two that fill the queue."""
    jobs = [submit_case(client, body)]
    gate.wait_for_forward_pass()
    jobs.append(submit_case(client, body))
    wait_until(lambda: client.get(jobs[1]).json()["state"] == "running")
    return jobs + [submit_case(client, body) for _ in range(2)]


def list_job_files(client: TestClient) -> list[str]:
    """The names of all job files on the spool; folders may be removed meanwhile."""
    folder = client.app.state.runtime.queue.spool.folder
    return sorted(name for job, _, names in os.walk(folder) if Path(job) != folder for name in names)


def read_problem(response: httpx2.Response, status: int, kind: str) -> str:
    """Check that a response is this problem (RFC 9457) and leaks nothing, and return its detail."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["type"] == f"urn:glioserve:problem:{kind}", response.text
    assert problem["status"] == status
    assert not LEAK.search(problem["detail"])
    return problem["detail"]


def open_answer(response: httpx2.Response) -> ZipFile:
    """The zip of mask and report that is the default answer."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/zip"
    return ZipFile(BytesIO(response.content))


def read_report(answer: ZipFile) -> dict[str, Any]:
    """The report of an answer."""
    return json.loads(answer.read("report.json"))


def read_mask(answer: ZipFile) -> nib.Nifti1Image:
    """The mask of an answer."""
    return nib.Nifti1Image.from_bytes(gzip.decompress(answer.read("segmentation.nii.gz")))


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file of JSON lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]
