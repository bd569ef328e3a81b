"""Time and memory that uploads made to do harm take, against the limits that docs/security.md states."""

import sys
from time import perf_counter
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from hostile import ARCHIVES, VOLUMES

from service.bench.server import running_server
from service.phantom import SLAB_GRID, encode_phantom, make_phantom, zip_files

MAX_SECONDS, MAX_MORE_MIB = 1.0, 100


def main() -> None:
    """Send each, print what it took, and fail where a limit is broken."""
    broken = 0
    with running_server(GLIOSERVE_MAX_UNPACKED_MIB="128") as server:
        server.segment(zip_files(encode_phantom(make_phantom(SLAB_GRID))))
        print(f"{'upload':28}{'answer':>8}{'seconds':>9}{'more MiB':>10}")
        for name, hostile in (ARCHIVES | VOLUMES).items():
            body = hostile.body()
            server.restart_peak()
            before_mib, started = server.resident_mib(), perf_counter()
            status = send(server.address, body)
            seconds, more_mib = perf_counter() - started, server.peak_resident_mib() - before_mib
            is_broken = status != hostile.status or seconds > MAX_SECONDS or more_mib > MAX_MORE_MIB
            broken += is_broken
            print(f"{name:28}{status:8}{seconds:9.2f}{more_mib:10.1f}{'  BROKEN' if is_broken else ''}")
    print(f"{broken} broke the limits of {MAX_SECONDS:g} s and {MAX_MORE_MIB} MiB")
    sys.exit(broken > 0)


def send(address: str, body: bytes) -> int:
    """The status of the answer."""
    try:
        with urlopen(Request(f"{address}/segment", data=body, headers={"Content-Type": "application/zip"})) as answer:
            return answer.status
    except HTTPError as refusal:
        return refusal.code


if __name__ == "__main__":
    main()
