"""uvicorn, told when to end by the service that it carries."""

from ssl import CERT_NONE, CERT_REQUIRED
from time import monotonic
from types import FrameType
from typing import Any, cast

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from service.errors import SettingsError
from service.lifetime import Lifetime
from service.settings import Settings

LAST_ANSWERS_S = 5  # for answers on their way once all work has ended; a silent client gets no more
HEAD_S = 30  # for the head of a request, from the moment that one may come; nobody needs more
HEADERS = [
    # Pages run and load what this service sends, and no page of another host frames it, or reads its answers.
    (
        "Content-Security-Policy",
        "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cache-Control", "no-store"),  # what is about a patient stays on no other disk
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
]
HEADERS_OF_TLS = [("Strict-Transport-Security", "max-age=31536000")]


class Server(uvicorn.Server):
    """A signal to end has the service end its work first; a second one does not wait for that.

    Raises SettingsError where the files of TLS cannot be used.
    """

    def __init__(self, app: FastAPI, **changes: Any) -> None:
        self._lifetime: Lifetime = app.state.lifetime
        self._signals: list[int] = []
        self._silent_since: dict[H11Protocol, float] = {}  # connections that no request came on yet
        super().__init__(uvicorn.Config(app, **_options(self._lifetime.settings), **changes))
        try:
            self.config.load()
        except OSError as error:  # of TLS alone
            raise SettingsError(
                f"GLIOSERVE_TLS_CERTIFICATE, _KEY, _CLIENT_CA: expected readable PEM files that fit, found {error}."
            ) from error

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Note the signal; the server looks ten times a second."""
        self._signals.append(sig)
        if len(self._signals) > 1:
            super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Whether to end now."""
        self._close_silent()
        if self._signals and not self._lifetime.ended:
            grace_s = self._lifetime.settings.grace_s if len(self._signals) == 1 else 0.0
            self._lifetime.end(grace_s)
        return self._lifetime.ended or await super().on_tick(counter)

    def _close_silent(self) -> None:
        """Close connections whose request does not come: uvicorn waits for the end of a head for ever."""
        now, connections = monotonic(), cast(set[H11Protocol], self.server_state.connections)
        silent = [each for each in connections if each.cycle is None or each.cycle.response_complete]
        self._silent_since = {each: self._silent_since.get(each, now) for each in silent}
        for connection, since in self._silent_since.items():
            if now - since > HEAD_S:
                connection.transport.close()


def _options(settings: Settings) -> dict[str, Any]:
    return {
        "http": H11Protocol,
        "ws": "none",
        "access_log": False,
        "server_header": False,
        "headers": HEADERS + (HEADERS_OF_TLS if settings.tls_certificate else []),
        "timeout_graceful_shutdown": LAST_ANSWERS_S,
        "ssl_certfile": settings.tls_certificate,
        "ssl_keyfile": settings.tls_key,
        "ssl_ca_certs": settings.tls_client_ca,
        "ssl_cert_reqs": CERT_REQUIRED if settings.tls_client_ca else CERT_NONE,
    }
