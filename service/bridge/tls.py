"""TLS of DICOM associations (DICOM PS3.15, annex B)."""

from functools import partial
from ssl import CERT_REQUIRED, PROTOCOL_TLS_CLIENT, PROTOCOL_TLS_SERVER, SSLContext, create_default_context

from service.bridge.settings import BridgeSettings
from service.errors import SettingsError
from service.settings import BRIDGE_PREFIX


def server_context(settings: BridgeSettings) -> SSLContext | None:
    """TLS for callers, or None if it is not configured; with a certificate authority, callers need a certificate.

    Raises SettingsError.
    """
    if not settings.tls_certificate:
        return None
    context = SSLContext(PROTOCOL_TLS_SERVER)
    _load(context, settings)
    if settings.tls_ca:
        context.verify_mode = CERT_REQUIRED
    # The handshake happens in the thread of the association: an idle connection must not keep others waiting.
    context.wrap_socket = partial(context.wrap_socket, do_handshake_on_connect=False)  # type: ignore[method-assign]
    return context


def client_context(settings: BridgeSettings) -> SSLContext:
    """TLS for connections to the archive, with the bridge's certificate if it has one. Raises SettingsError."""
    context = SSLContext(PROTOCOL_TLS_CLIENT) if settings.tls_ca else create_default_context()
    _load(context, settings)
    return context


def _load(context: SSLContext, settings: BridgeSettings) -> None:
    try:
        if settings.tls_certificate:
            context.load_cert_chain(settings.tls_certificate, settings.tls_key, password=lambda: "none")
        if settings.tls_ca:
            context.load_verify_locations(settings.tls_ca)
    except OSError as error:
        raise SettingsError(
            f"{BRIDGE_PREFIX}TLS_CERTIFICATE, _KEY, _CA: expected matching, readable PEM files, the key without a "
            f"passphrase, found {error}."
        ) from error
