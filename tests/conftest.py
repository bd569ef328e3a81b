"""A phantom, networks with known answers, and a service that holds them."""

import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import trustme
from fastapi.testclient import TestClient
from known_networks import Gate, gated_model, known_model, save_model
from serving import ready_client
from tiny import FIRST_SLICES, SPLIT, write_data

from model_training.prepare import Cases, open_cache, prepare
from model_training.split import write_split
from service.phantom import SLAB_GRID, encode_phantom, make_phantom, zip_files
from service.segmentation.model import Model
from service.segmentation.volume import Volume
from service.settings import Settings


@pytest.fixture(scope="session")
def phantom() -> dict[str, Volume]:
    """The phantom on a slab of a BraTS grid, 50 axial slices around the tumour: enough, and quick."""
    return make_phantom(SLAB_GRID)


@pytest.fixture(scope="session")
def phantom_files(phantom: dict[str, Volume]) -> dict[str, bytes]:
    """The phantom's NIfTI files by name."""
    return encode_phantom(phantom)


@pytest.fixture(scope="session")
def phantom_zip(phantom_files: dict[str, bytes]) -> bytes:
    """The phantom as a client would send it."""
    return zip_files(phantom_files)


@pytest.fixture(scope="session")
def model(phantom: dict[str, Volume]) -> Model:
    """Networks with known answers on the phantom."""
    return known_model(phantom)


@pytest.fixture(scope="session")
def weights(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The known networks as the service loads them."""
    return save_model(tmp_path_factory.mktemp("weights"), model)


@pytest.fixture(scope="session")
def client(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A service, started, that holds the known networks and takes bodies of up to 16 MiB."""
    folder = tmp_path_factory.mktemp("spool")
    limits = {"max_upload_mib": 16, "max_unpacked_mib": 128}
    with ready_client(Settings(weights=weights, device="cpu", precision="float32", spool=folder, **limits)) as client:
        yield client


@pytest.fixture
def gate() -> Iterator[Gate]:
    """A gate; whoever is left before it is let through in the end."""
    gate = Gate()
    yield gate
    gate.let.set()


@pytest.fixture
def gated(gate: Gate, model: Model, weights: Path, tmp_path: Path) -> Iterator[TestClient]:
    """A service, started, whose first network waits at the gate, and where two cases may wait."""
    settings = Settings(weights=weights, device="cpu", spool=tmp_path / "spool", max_waiting=2, grace_s=0.2)
    with ready_client(settings) as client:
        queue = client.app.state.lifetime.queue
        queue.worker = replace(queue.worker, model=gated_model(gate, model))
        yield client
        gate.let.set()


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """An authority that hospitals might have."""
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA, tmp_path: Path) -> dict[str, Path]:
    """The settings of a service with a certificate."""
    certificate = authority.issue_cert("127.0.0.1")
    paths = {name: tmp_path / name for name in ("tls_certificate", "tls_key", "tls_client_ca")}
    paths["tls_certificate"].write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    certificate.private_key_pem.write_to_path(paths["tls_key"])
    authority.cert_pem.write_to_path(paths["tls_client_ca"])
    return paths


@pytest.fixture
def trust(authority: trustme.CA) -> ssl.SSLContext:
    """What a client needs to trust it."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of BraTS folders."""
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def tiny_cache(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The slice cache of the tiny data."""
    folder = tmp_path_factory.mktemp("cache")
    prepare(tiny_data, FIRST_SLICES, folder)
    write_split(folder / "split.json", SPLIT)
    return folder


@pytest.fixture(scope="session")
def tiny_cases(tiny_cache: Path) -> Cases:
    """The cases of the tiny cache by subset."""
    return open_cache(tiny_cache, SPLIT)
