"""Time and memory of malicious uploads against the limits of docs/security.md.

PYTHONPATH=tests python -m benchmarks.malicious_uploads
"""

import sys
from time import perf_counter
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from support.malicious_archives import ARCHIVES
from support.malicious_images import IMAGES

from service.command_line.bench.service_process import running_service
from service.imaging.phantom import SLAB_GRID, encode_phantom, make_phantom, zip_files

MAX_SECONDS, MAX_ADDED_MIB = 1.0, 100


def main() -> None:
    """Send each upload, print its time and memory, and fail if a limit is exceeded."""
    failed = 0
    with running_service(GLIOSERVE_MAX_UNPACKED_MIB="128") as server:
        server.segment(zip_files(encode_phantom(make_phantom(SLAB_GRID))))
        print(f"{'upload':28}{'status':>8}{'seconds':>9}{'added MiB':>10}")
        for name, upload in (ARCHIVES | IMAGES).items():
            body = upload.make_body()
            server.reset_peak()
            before_mib, started = server.resident_mib(), perf_counter()
            status = send(server.address, body)
            seconds, added_mib = perf_counter() - started, server.peak_resident_mib() - before_mib
            has_failed = status != upload.status or seconds > MAX_SECONDS or added_mib > MAX_ADDED_MIB
            failed += has_failed
            print(f"{name:28}{status:8}{seconds:9.2f}{added_mib:10.1f}{'  FAILED' if has_failed else ''}")
    print(f"{failed} exceeded the limits of {MAX_SECONDS:g} s and {MAX_ADDED_MIB} MiB")
    sys.exit(failed > 0)


def send(address: str, body: bytes) -> int:
    """Send a zip and return the status of the response."""
    try:
        with urlopen(Request(f"{address}/segment", data=body, headers={"Content-Type": "application/zip"})) as response:
            return response.status
    except HTTPError as error:
        return error.code


if __name__ == "__main__":
    main()
