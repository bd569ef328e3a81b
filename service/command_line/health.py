"""Health checks of the running service and bridge, as used by containers.

It imports neither torch nor the web framework, since it runs repeatedly beside the service.
"""

from http.client import HTTPConnection, HTTPException, HTTPSConnection
from ssl import CERT_NONE, PROTOCOL_TLS_CLIENT, SSLContext

from service.bridge.settings import BridgeSettings
from service.errors import HealthError
from service.settings import Settings

TIMEOUT_S = 5
LOCAL_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # for a service that listens on all addresses


def check_health(settings: Settings) -> None:
    """Check that the service with these settings is alive. Raises HealthError if it is not."""
    _check(_connection(settings), handshake_is_enough=bool(settings.tls_client_ca))


def check_bridge_health(settings: BridgeSettings) -> None:
    """Check that the bridge with these settings is alive. Raises HealthError if it is not."""
    host = LOCAL_ADDRESS.get(settings.monitoring_host, settings.monitoring_host)
    _check(HTTPConnection(host, settings.monitoring_port, TIMEOUT_S), handshake_is_enough=False)


def _check(connection: HTTPConnection, *, handshake_is_enough: bool) -> None:
    try:
        connection.connect()
        if handshake_is_enough:  # the server rejects requests without a client certificate
            return
        connection.request("GET", "/livez")
        found = f"status {connection.getresponse().status}"
    except (OSError, HTTPException) as error:
        found = str(error)
    finally:
        connection.close()
    if found != "status 200":
        raise HealthError(f"Health: expected it alive at {connection.host} port {connection.port}, found {found}.")


def _connection(settings: Settings) -> HTTPConnection:
    host = LOCAL_ADDRESS.get(settings.host, settings.host)
    if not settings.tls_certificate:
        return HTTPConnection(host, settings.port, TIMEOUT_S)
    unverified = SSLContext(PROTOCOL_TLS_CLIENT)  # the certificate is for the service's public name, not this address
    unverified.check_hostname, unverified.verify_mode = False, CERT_NONE
    return HTTPSConnection(host, settings.port, timeout=TIMEOUT_S, context=unverified)
