"""Fixtures: a phantom, networks with known answers, and a service that runs them."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import trustme
from fastapi.testclient import TestClient
from playwright.sync_api import Browser
from pynetdicom.transport import AssociationSocket
from support.browser import HAS_BROWSER, Visit, start_browser, visit
from support.client_runs import serve_gated
from support.known_networks import GatedNetwork, gated_model, known_model, save_model
from support.running_service import ready_client, serve_in_thread
from tiny import FIRST_SLICES, RECIPE, SPLIT, write_data

from model_training.data.prepare import Cases, open_cache, prepare
from model_training.data.split import write_split
from model_training.training.train import train
from service.app import create_app
from service.imaging.phantom import SLAB_GRID, encode_phantom, make_phantom, zip_files
from service.imaging.volume import Volume
from service.networks.model import Model
from service.settings import Settings


@pytest.fixture(scope="session", autouse=True)
def closed_sockets() -> Iterator[None]:
    """Close the sockets that pynetdicom leaves to the garbage collector, whose warning any later test would get."""

    def close(connection: AssociationSocket) -> None:
        if connection.socket:
            with suppress(OSError):  # it is not connected any more
                connection.socket.shutdown(socket.SHUT_RDWR)
            connection.socket.close()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AssociationSocket, "_shutdown_socket", close)
        yield


@pytest.fixture(scope="session")
def phantom() -> dict[str, Volume]:
    """The phantom on 50 axial slices of a BraTS grid around the tumour, which is faster than the whole head."""
    return make_phantom(SLAB_GRID)


@pytest.fixture(scope="session")
def phantom_files(phantom: dict[str, Volume]) -> dict[str, bytes]:
    """The NIfTI files of the phantom by name."""
    return encode_phantom(phantom)


@pytest.fixture(scope="session")
def phantom_zip(phantom_files: dict[str, bytes]) -> bytes:
    """The phantom as a client sends it."""
    return zip_files(phantom_files)


@pytest.fixture(scope="session")
def model(phantom: dict[str, Volume]) -> Model:
    """Networks with known answers on the phantom."""
    return known_model(phantom)


@pytest.fixture(scope="session")
def weights(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights folder of the known networks."""
    return save_model(tmp_path_factory.mktemp("weights"), model)


@pytest.fixture(scope="session")
def client(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A client of a service with the known networks and an upload limit of 16 MiB."""
    folder = tmp_path_factory.mktemp("spool")
    limits = {"max_upload_mib": 16, "max_unpacked_mib": 128}
    with ready_client(Settings(weights=weights, device="cpu", precision="float32", spool=folder, **limits)) as client:
        yield client


@pytest.fixture(scope="session")
def address(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a service with the known networks, on a socket."""
    spool = tmp_path_factory.mktemp("spool")
    with serve_in_thread(
        create_app(Settings(weights=weights, device="cpu", precision="float32", spool=spool))
    ) as address:
        yield address


@pytest.fixture
def case(phantom_zip: bytes, tmp_path: Path) -> Path:
    """The zip of the phantom on disk."""
    path = tmp_path / "case.zip"
    path.write_bytes(phantom_zip)
    return path


@pytest.fixture
def settings(weights: Path, tmp_path: Path) -> Settings:
    """The settings of a service with the known networks that stops quickly."""
    return Settings(weights=weights, device="cpu", spool=tmp_path / "spool", shutdown_grace_s=0.2)


@pytest.fixture
def gate() -> Iterator[GatedNetwork]:
    """A network that blocks until its gate is opened, at the latest after the test."""
    gate = GatedNetwork()
    yield gate
    gate.open()


@pytest.fixture
def gated_client(gate: GatedNetwork, model: Model, weights: Path, tmp_path: Path) -> Iterator[TestClient]:
    """A client of a service with the gated network as its first one and a queue of two cases."""
    settings = Settings(weights=weights, device="cpu", spool=tmp_path / "spool", queue_size=2, shutdown_grace_s=0.2)
    with ready_client(settings) as client:
        queue = client.app.state.runtime.queue
        queue.scheduler.worker = replace(queue.scheduler.worker, model=gated_model(gate, model))
        yield client
        gate.open()


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """A certificate authority such as a hospital may have."""
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA, tmp_path: Path) -> dict[str, Path]:
    """The TLS settings of a service with a certificate and a client CA."""
    certificate = authority.issue_cert("127.0.0.1")
    paths = {name: tmp_path / name for name in ("tls_certificate", "tls_key", "tls_client_ca")}
    paths["tls_certificate"].write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    certificate.private_key_pem.write_to_path(paths["tls_key"])
    authority.cert_pem.write_to_path(paths["tls_client_ca"])
    return paths


@pytest.fixture
def trust(authority: trustme.CA) -> ssl.SSLContext:
    """The TLS context of a client that trusts the authority."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
def client_certificate(authority: trustme.CA) -> ssl.SSLContext:
    """The TLS context of a client that trusts the authority and has a certificate of it."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    authority.issue_cert("ward@hospital.example").configure_cert(context)
    return context


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of tiny BraTS cases."""
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def tiny_cache(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The slice cache of the tiny cases."""
    folder = tmp_path_factory.mktemp("cache")
    prepare(tiny_data, FIRST_SLICES, folder)
    write_split(folder / "split.json", SPLIT)
    return folder


@pytest.fixture(scope="session")
def tiny_cases(tiny_cache: Path) -> Cases:
    """The cached tiny cases by subset."""
    return open_cache(tiny_cache, SPLIT)


@pytest.fixture(scope="session")
def finished(tiny_cases: Cases, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run of the tiny recipe."""
    run = tmp_path_factory.mktemp("finished")
    train(RECIPE, tiny_cases, run, torch.device("cpu"))
    return run


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A browser for tests of the page, which are skipped without it."""
    if not HAS_BROWSER:
        pytest.skip("Chromium is not installed, or the page has not been built (make viewer)")
    with start_browser() as browser:
        yield browser


@pytest.fixture
def opened(browser: Browser, address: str) -> Iterator[Visit]:
    """A visit to the page of the service with the known networks."""
    with visit(browser, address) as opened:
        opened.open()
        yield opened


@pytest.fixture
def gated_address(gate: GatedNetwork, model: Model, settings: Settings) -> Iterator[str]:
    """The address of a service with the gated network as its first one and a queue of two cases."""
    with serve_gated(gate, model, settings.model_copy(update={"queue_size": 2})) as address:
        yield address


@pytest.fixture
def loose_files(phantom_files: dict[str, bytes], tmp_path: Path) -> list[Path]:
    """The four modalities as files; one name tells nothing."""
    paths = []
    for name, data in phantom_files.items():
        if "seg" not in name:
            paths.append(tmp_path / name.rpartition("/")[2].replace("flair", "fourth"))
            paths[-1].write_bytes(data)
    return paths
