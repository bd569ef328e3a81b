"""uvicorn, told when to end by the service that it carries."""

import asyncio
from ssl import CERT_NONE, CERT_REQUIRED
from time import monotonic
from types import FrameType
from typing import Any, cast

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from service.errors import SettingsError
from service.lifetime import Lifetime
from service.settings import Settings

Where = tuple[RequestResponseCycle | None, int]  # on the way of a connection

LAST_ANSWERS_S = 5  # for answers on their way once all work has ended; a silent client gets no more
PIECE_BYTES = 2**16  # that a connection takes at once: of many that are refused all are in memory for a moment
CLIENT_S = 30  # for the head of a request, from the moment that one may come, and for taking some of an answer
NO_PASS_PHRASE = "none"  # for a key that wants one, which then fails: of an empty one OpenSSL asks the terminal
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


class Protocol(H11Protocol):
    """uvicorn's, but that it takes less at once, and answers once what is no HTTP."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin."""
        transport.max_size = PIECE_BYTES  # type: ignore[attr-defined]  # asyncio's own, without a word in its documents
        super().connection_made(transport)

    def send_400_response(self, msg: str) -> None:
        """Answer what broke off being HTTP; the app, which may be at work on its head, is heard no more."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            if self.cycle.response_started:
                self.transport.close()
                return
        super().send_400_response(msg)


class Server(uvicorn.Server):
    """A signal to end has the service end its work first; a second one does not wait for that.

    Raises SettingsError where the files of TLS cannot be used.
    """

    def __init__(self, app: FastAPI, **changes: Any) -> None:
        self._lifetime: Lifetime = app.state.lifetime
        self._signals: list[int] = []
        self._stuck: dict[H11Protocol, tuple[Where, float]] = {}  # where each stands, and since when
        super().__init__(uvicorn.Config(app, **_options(self._lifetime.settings), **changes))
        try:
            self.config.load()
        except OSError as error:  # of TLS alone
            raise SettingsError(
                f"GLIOSERVE_TLS_CERTIFICATE, _KEY, _CLIENT_CA: expected readable PEM files that fit, the key without a "
                f"pass phrase, found {error}."
            ) from error

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Note the signal; the server looks ten times a second."""
        self._signals.append(sig)
        if len(self._signals) > 1:
            super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Whether to end now."""
        self._close_idle()
        if self._signals and not self._lifetime.ended:
            grace_s = self._lifetime.settings.grace_s if len(self._signals) == 1 else 0.0
            self._lifetime.end(grace_s)
        return self._lifetime.ended or await super().on_tick(counter)

    def _close_idle(self) -> None:
        """End connections on which nothing moves: uvicorn waits for ever for a head, and for a client to read."""
        now, before, self._stuck = monotonic(), self._stuck, {}
        for connection in cast(set[H11Protocol], self.server_state.connections):
            if _waits_for_client(connection):
                where = _where(connection)
                known, since = before.get(connection, (where, now))
                self._stuck[connection] = (where, since if known == where else now)
        for connection, (_, since) in self._stuck.items():
            if now - since > CLIENT_S:
                connection.transport.abort()


def _waits_for_client(connection: H11Protocol) -> bool:
    cycle = connection.cycle
    return cycle is None or cycle.response_complete or connection.transport.get_write_buffer_size() > 0


def _where(connection: H11Protocol) -> Where:
    """What changes as a connection goes on: its request, and how many bytes of an answer wait to be taken."""
    return connection.cycle, connection.transport.get_write_buffer_size()


def _options(settings: Settings) -> dict[str, Any]:
    return {
        "http": Protocol,
        "ws": "none",
        "access_log": False,
        "server_header": False,
        "headers": HEADERS + (HEADERS_OF_TLS if settings.tls_certificate else []),
        "proxy_headers": bool(settings.proxies),  # or else uvicorn believes whoever calls from this machine
        "forwarded_allow_ips": settings.proxies,
        "timeout_graceful_shutdown": LAST_ANSWERS_S,
        "ssl_certfile": settings.tls_certificate,
        "ssl_keyfile": settings.tls_key,
        "ssl_keyfile_password": NO_PASS_PHRASE,
        "ssl_ca_certs": settings.tls_client_ca,
        "ssl_cert_reqs": CERT_REQUIRED if settings.tls_client_ca else CERT_NONE,
    }
