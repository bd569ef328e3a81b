"""HTTP connections of the bridge to the service and to DICOMweb services."""

from collections.abc import Iterator
from contextlib import contextmanager

import requests
from dicomweb_client import DICOMwebClient

from service.bridge.errors import Peer, PeerError, RefusedError
from service.bridge.settings import BridgeSettings, read_secret

TIMEOUT_S = (5, 60)  # to connect; between two pieces of a response


def open_session(settings: BridgeSettings) -> requests.Session:
    """A session that connects to the given addresses only: no proxy and no password of the environment is used."""
    session = requests.Session()
    session.trust_env = False
    session.verify = str(settings.http_ca) if settings.http_ca else True
    return session


def connect_dicomweb(address: str, settings: BridgeSettings) -> DICOMwebClient:
    """A client of a DICOMweb service that does not retry by itself. Raises SettingsError."""
    session = open_session(settings)
    if settings.authorization_file:
        session.headers["Authorization"] = read_secret("AUTHORIZATION_FILE", settings.authorization_file)
    client = DICOMwebClient(address.rstrip("/"), session, permissive_uid=True, timeout=TIMEOUT_S)
    client.set_http_retry_params(retry=False)
    return client


@contextmanager
def network_errors(peer: Peer) -> Iterator[None]:
    """Translate errors of HTTP connections; only their type or status is kept, as addresses may contain UIDs."""
    try:
        yield
    except requests.HTTPError as error:
        raise RefusedError(f"status {str(error)[:3]}") from error
    except (requests.RequestException, OSError) as error:
        raise PeerError(peer, type(error).__name__) from error
