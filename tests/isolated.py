"""Run the service where nothing can be reached, and count what it tried to reach.

    unshare --map-root-user --net python tests/isolated.py CASE.zip FOLDER

Prints JSON: tries of the service, and tries that were then made on purpose, which show that tries are counted.
"""

import fcntl
import json
import socket
import struct
import sys
from pathlib import Path

import httpx2
from serving import served

BRING_UP = 0x8914  # SIOCSIFFLAGS, with the flag IFF_UP
ELSEWHERE = (socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")  # addresses of documentation


def main() -> None:
    """Serve a case, ask for all that can be asked for, and count."""
    case, folder = Path(sys.argv[1]).read_bytes(), Path(sys.argv[2])
    with socket.socket() as loopback:
        fcntl.ioctl(loopback, BRING_UP, struct.pack("16sh22x", b"lo", 1))
    with served(folder) as running:
        httpx2.post(f"{running.address}/segment", files={"file": case}, timeout=300).raise_for_status()
        for path in ("models", "metrics", "docs", "openapi.json"):
            httpx2.get(f"{running.address}/{path}").raise_for_status()
    of_the_service = tries()
    for family, address in ELSEWHERE:
        with socket.socket(family) as connection:
            connection.connect_ex((address, 80))
    print(json.dumps({"of the service": of_the_service, "on purpose": tries() - of_the_service}))


def tries() -> int:
    """Packets, those that ask for a name among them, that found no route out of this network namespace."""
    names, values = (line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if line.startswith("Ip:"))
    sixth = (line.split() for line in Path("/proc/net/snmp6").read_text().splitlines())
    return int(dict(zip(names, values, strict=True))["OutNoRoutes"]) + int(dict(sixth)["Ip6OutNoRoutes"])


if __name__ == "__main__":
    main()
