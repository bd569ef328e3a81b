"""The subcommands that run until they are told to stop: the service and the bridge.

Each imports what it needs when it runs, as `commands` does.
"""

import argparse
import os
import socket
import sys

from service.settings import BRIDGE_PREFIX, PREFIX, read_settings

BACKLOG = 2048  # connections that the kernel queues until the service accepts them


def serve(_: argparse.Namespace) -> None:
    """Serve until told to stop."""
    from service.app import create_app
    from service.machine import process
    from service.monitoring.log import start_logging
    from service.web.server import Server

    process.disable_core_dumps()
    process.make_new_files_private()
    process.limit_heap_growth()
    process.silence_libraries()
    settings = read_settings(os.environ)
    app = create_app(settings)
    server = Server(app)
    start_logging()
    server.run([_listen(settings.host, settings.port, PREFIX)])
    if failure := app.state.runtime.failure:
        sys.exit(str(failure))


def bridge(_: argparse.Namespace) -> None:
    """Connect a DICOM archive to the service until told to stop."""
    try:
        from service.bridge.app import run_bridge
        from service.bridge.settings import read_bridge_settings
    except ImportError as error:
        sys.exit(f"The bridge needs more packages, which `pip install 'glioserve[bridge]'` installs: {error}.")
    from service.machine import process
    from service.monitoring.log import start_logging

    process.disable_core_dumps()
    process.make_new_files_private()
    process.silence_libraries()
    settings = read_bridge_settings(os.environ)
    monitoring = _listen(settings.monitoring_host, settings.monitoring_port, f"{BRIDGE_PREFIX}MONITORING_")
    start_logging()
    run_bridge(settings, monitoring)
    sys.stdout.flush()
    os._exit(0)  # without waiting for threads of pynetdicom that wait for their peers


def _listen(host: str, port: int, prefix: str) -> socket.socket:
    """Open a socket before anything is loaded; exit if the address, of settings with a prefix, is not available."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        found = f"{host} port {port}: {error.strerror}"
        sys.exit(f"{prefix}HOST, {prefix}PORT: expected a free address of this machine, found {found}.")
