"""Whether the service answers, asked where its settings have it listen: what a container's health check runs.

It imports neither torch nor the web stack, since it runs again and again beside the service.
"""

from http.client import HTTPConnection, HTTPException, HTTPSConnection
from ssl import CERT_NONE, PROTOCOL_TLS_CLIENT, SSLContext

from service.errors import HealthError
from service.settings import Settings

PATIENCE_S = 5
THIS_MACHINE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # where to ask what listens everywhere


def check_health(settings: Settings) -> None:
    """Ask whether the service is alive. Raises HealthError where it does not say so."""
    connection = _connection(settings)
    try:
        connection.connect()
        if settings.tls_client_ca:  # it answers nobody without a certificate, but that it speaks TLS says enough
            return
        connection.request("GET", "/livez")
        found = f"status {connection.getresponse().status}"
    except (OSError, HTTPException) as error:
        found = str(error)
    finally:
        connection.close()
    if found != "status 200":
        raise HealthError(f"Service: expected it alive at {connection.host} port {connection.port}, found {found}.")


def _connection(settings: Settings) -> HTTPConnection:
    host = THIS_MACHINE.get(settings.host, settings.host)
    if not settings.tls_certificate:
        return HTTPConnection(host, settings.port, PATIENCE_S)
    anyone = SSLContext(PROTOCOL_TLS_CLIENT)  # the certificate is for the name by which others call
    anyone.check_hostname, anyone.verify_mode = False, CERT_NONE
    return HTTPSConnection(host, settings.port, timeout=PATIENCE_S, context=anyone)
