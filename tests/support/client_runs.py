"""Services on a socket for the Python client, and what its runs report."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx2

from glioserve_client import Progress
from service.app import create_app
from service.imaging.case import Modality
from service.networks.model import Model
from service.settings import Settings
from support.api import open_answer, post_case
from support.case_files import zip_case
from support.known_networks import GatedNetwork, gated_model
from support.running_service import serve_in_thread, wait_until

MASK, REPORT = "segmentation.nii.gz", "report.json"


@contextmanager
def serve_gated(gate: GatedNetwork, model: Model, settings: Settings) -> Iterator[str]:
    """Serve on a socket with the gated network as the first one, and yield the address."""
    app = create_app(settings)
    with serve_in_thread(app) as address:
        scheduler = app.state.runtime.queue.scheduler
        scheduler.worker = replace(scheduler.worker, model=gated_model(gate, model))
        yield address
        gate.open()


def plain_answer(address: str, body: bytes, query: str = "") -> dict[str, bytes]:
    """The files of the answer to one POST /segment without the client."""
    with httpx2.Client(base_url=address, timeout=60) as http, open_answer(post_case(http, body, query)) as answer:
        return {name: answer.read(name) for name in answer.namelist()}


def write_files(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Write files into a folder and return it."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def count_jobs(address: str) -> int:
    """How many jobs the service has ended since its start."""
    lines = httpx2.get(f"{address}/metrics").text.splitlines()
    return sum(int(float(line.split()[-1])) for line in lines if line.startswith("glioserve_jobs_total{"))


class Reports(list[Progress]):
    """The progress that was reported."""

    def wait_for(self, state: str) -> Progress:
        """Wait until a state is reported, and return the first such progress."""
        wait_until(lambda: any(progress.state == state for progress in self))
        return next(progress for progress in self if progress.state == state)


def write_cases(folder: Path, phantom_zip: bytes, phantom_files: dict[str, bytes]) -> Path:
    """A folder of three cases, the last of which lacks a modality, and of another file."""
    write_files(folder / "two", {name.removeprefix("phantom/"): data for name, data in phantom_files.items()})
    incomplete = zip_case(phantom_files, drop=Modality.FLAIR)
    return write_files(folder, {"one.zip": phantom_zip, "three.zip": incomplete, "notes.txt": b""})
