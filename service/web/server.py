"""The uvicorn server: TLS, response headers, graceful shutdown, and timeouts of idle connections."""

import asyncio
from ssl import CERT_NONE, CERT_REQUIRED
from time import monotonic
from types import FrameType
from typing import Any, cast

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from service.errors import SettingsError
from service.runtime import Runtime
from service.settings import Settings

ConnectionState = tuple[RequestResponseCycle | None, int]

FINAL_RESPONSES_S = 5  # for sending responses once all work has ended; then remaining connections are closed
READ_BYTES = 2**16  # read from a connection at once: with many refused uploads, this much of each is in memory
CLIENT_TIMEOUT_S = 30  # for sending a request's head, and for reading some of a response
DUMMY_PASSPHRASE = "none"  # a wrong one, so that encrypted keys fail; without one OpenSSL would ask on the terminal
HEADERS = [
    # Pages load only what this service sends, and no page of another host can frame it or read its responses.
    (
        "Content-Security-Policy",
        "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cache-Control", "no-store"),  # patient data must not be cached on other disks
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
]
MALFORMED_HTTP = b"""{"type": "about:blank", "title": "Bad Request", "status": 400, "detail": \
"Request: expected valid HTTP with a head of at most 64 KiB, found something else or a longer head."}"""
MALFORMED_HTTP_HEADERS = [
    (b"Content-Type", b"application/problem+json"),
    (b"Content-Length", str(len(MALFORMED_HTTP)).encode()),
    (b"Connection", b"close"),
]
TLS_HEADERS = [("Strict-Transport-Security", "max-age=31536000")]


class Protocol(H11Protocol):
    """uvicorn's HTTP protocol with smaller reads, and with a single response to malformed HTTP."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Limit the read size of a new connection."""
        transport.max_size = READ_BYTES  # type: ignore[attr-defined]  # undocumented attribute of asyncio's transports
        super().connection_made(transport)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # uvicorn's text is replaced by a problem
        """Answer malformed HTTP; discard the app's response if the app is already processing the request."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            if self.cycle.response_started:
                self.transport.close()
                return
        for event in (
            h11.Response(status_code=400, headers=MALFORMED_HTTP_HEADERS, reason=b"Bad Request"),
            h11.Data(data=MALFORMED_HTTP),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


class Server(uvicorn.Server):
    """A server that drains the service on the first signal, and stops at once on the second.

    Raises SettingsError if the TLS files cannot be used.
    """

    def __init__(self, app: FastAPI, **options: Any) -> None:
        self._runtime: Runtime = app.state.runtime
        self._signals: list[int] = []
        self._idle: dict[H11Protocol, tuple[ConnectionState, float]] = {}  # state, and since when it is unchanged
        super().__init__(uvicorn.Config(app, **_options(self._runtime.settings), **options))
        try:
            self.config.load()
        except OSError as error:  # about the TLS files
            raise SettingsError(
                "GLIOSERVE_TLS_CERTIFICATE, _KEY, _CLIENT_CA: expected matching, readable PEM files, the key without a "
                f"passphrase, found {error}."
            ) from error

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Record a signal, which the next tick handles."""
        self._signals.append(sig)
        if len(self._signals) > 1:
            super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: close idle connections, start draining after a signal; return whether to exit."""
        self._close_idle_connections()
        if self._signals and not self._runtime.has_ended:
            grace_s = self._runtime.settings.shutdown_grace_s if len(self._signals) == 1 else 0.0
            self._runtime.shut_down(grace_s)
        return self._runtime.has_ended or await super().on_tick(counter)

    def _close_idle_connections(self) -> None:
        """Close idle connections; uvicorn waits indefinitely for request headers and for clients to read a response."""
        now, before, self._idle = monotonic(), self._idle, {}
        for connection in cast(set[H11Protocol], self.server_state.connections):
            if _waits_for_client(connection):
                state = _state(connection)
                known, since = before.get(connection, (state, now))
                self._idle[connection] = (state, since if known == state else now)
        for connection, (_, since) in self._idle.items():
            if now - since > CLIENT_TIMEOUT_S:
                connection.transport.abort()


def _waits_for_client(connection: H11Protocol) -> bool:
    cycle = connection.cycle
    return cycle is None or cycle.response_complete or connection.transport.get_write_buffer_size() > 0


def _state(connection: H11Protocol) -> ConnectionState:
    """A value that changes whenever a connection makes progress: its request, and the number of unsent bytes."""
    return connection.cycle, connection.transport.get_write_buffer_size()


def _options(settings: Settings) -> dict[str, Any]:
    return {
        "loop": "asyncio",  # Protocol sets an attribute that uvloop's transports lack
        "http": Protocol,
        "ws": "none",
        "access_log": False,
        "server_header": False,
        "headers": HEADERS + (TLS_HEADERS if settings.tls_certificate else []),
        "proxy_headers": bool(settings.proxies),  # by default uvicorn trusts any client on this machine
        "forwarded_allow_ips": settings.proxies,
        "timeout_graceful_shutdown": FINAL_RESPONSES_S,
        "ssl_certfile": settings.tls_certificate,
        "ssl_keyfile": settings.tls_key,
        "ssl_keyfile_password": DUMMY_PASSPHRASE,
        "ssl_ca_certs": settings.tls_client_ca,
        "ssl_cert_reqs": CERT_REQUIRED if settings.tls_client_ca else CERT_NONE,
    }
