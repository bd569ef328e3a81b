"""Run the service in a network namespace without routes and count its attempts to reach other hosts.

    PYTHONPATH=tests unshare --map-root-user --net python -m support.network_isolation CASE.zip FOLDER

Prints JSON: the attempts of the service, and those of two deliberate connections, which show that attempts are counted.
"""

import fcntl
import json
import socket
import struct
import sys
from pathlib import Path

import httpx2

from support.api import post_case
from support.running_service import serve_in_process

BRING_UP = 0x8914  # SIOCSIFFLAGS, with the flag IFF_UP
OTHER_HOSTS = (
    (socket.AF_INET, "192.0.2.1"),
    (socket.AF_INET6, "2001:db8::1"),
)  # reserved for documentation (RFC 5737, RFC 3849)


def main() -> None:
    """Segment a case, request every other route, and count."""
    case, folder = Path(sys.argv[1]).read_bytes(), Path(sys.argv[2])
    with socket.socket() as loopback:
        fcntl.ioctl(loopback, BRING_UP, struct.pack("16sh22x", b"lo", 1))
    with (
        serve_in_process(folder) as service,
        httpx2.Client(base_url=service.address, timeout=300) as client,
    ):
        post_case(client, case).raise_for_status()
        for path in ("/models", "/metrics", "/docs", "/openapi.json"):
            client.get(path).raise_for_status()
    by_service = count_unroutable_packets()
    for family, address in OTHER_HOSTS:
        with socket.socket(family) as connection:
            connection.connect_ex((address, 80))
    print(json.dumps({"service": by_service, "deliberate": count_unroutable_packets() - by_service}))


def count_unroutable_packets() -> int:
    """Packets, including DNS queries, that found no route out of this network namespace."""
    names, values = (line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if line.startswith("Ip:"))
    ipv6 = (line.split() for line in Path("/proc/net/snmp6").read_text().splitlines())
    return int(dict(zip(names, values, strict=True))["OutNoRoutes"]) + int(dict(ipv6)["Ip6OutNoRoutes"])


if __name__ == "__main__":
    main()
