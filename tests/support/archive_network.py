"""Orthanc, the service and the bridge in a network namespace of their own, as Orthanc listens on every address.

    PYTHONPATH=tests unshare --map-root-user --net python -m support.archive_network FOLDER WEIGHTS PROTOCOL STUDIES

PROTOCOL is dicom (Orthanc forwards studies, and gets the results by C-STORE) or dicomweb (the bridge searches for
studies, and stores the results by STOW-RS). Sends synthetic studies to Orthanc with storescu. If there are several, the
service, Orthanc and the bridge are killed meanwhile. Prints as JSON what the archive contains afterwards, and how often
the results of each study were delivered.
"""

import fcntl
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
from collections import Counter
from datetime import date
from pathlib import Path
from time import sleep

import httpx2
from pydicom.uid import UID

from service.imaging.case import Modality
from service.imaging.phantom import SLAB_GRID, make_phantom
from support.command_line import GLIOSERVE, environment_with
from support.dicom_files import SEQUENCES, encode_all, make_enhanced, make_series
from support.running_service import wait_until

BRING_UP = 0x8914  # SIOCSIFFLAGS, with the flag IFF_UP
CONFIGURATION = Path(__file__).parents[2] / "docker" / "orthanc"
PLUGINS = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"
ORTHANC, SERVICE, BRIDGE = (f"http://127.0.0.1:{port}" for port in (8042, 8000, 8001))
DICOMWEB, DICOM = f"{ORTHANC}/dicom-web", "dicom://ORTHANC@127.0.0.1:4242"
TIMEOUT_S = 900
SETTLE_S = 15  # for Orthanc to forward the studies again, and for the bridge to ignore them


class Program:
    """A program that is started, killed, and started again with the same folder."""

    def __init__(self, command: list[object], address: str, log: Path, environment: dict[str, str]) -> None:
        self._command, self._address, self._log = list(map(str, command)), address, log
        self._environment = environment
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with self._log.open("a") as log:
            self._process = subprocess.Popen(self._command, env=self._environment, stdout=log, stderr=log)
        wait_until(self._answers)

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        self._process.kill()
        self._process.wait()

    def _answers(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()[-2000:]
        try:
            return httpx2.get(self._address).is_success
        except httpx2.TransportError:
            return False


def main() -> None:
    """Run the scenario."""
    folder, weights, protocol, count = Path(sys.argv[1]).absolute(), sys.argv[2], sys.argv[3], int(sys.argv[4])
    with socket.socket() as loopback:
        fcntl.ioctl(loopback, BRING_UP, struct.pack("16sh22x", b"lo", 1))
    if missing := [name for name in ("Orthanc", "storescu") if not shutil.which(name)]:
        sys.exit(f"{', '.join(missing)} missing: install orthanc, orthanc-dicomweb and dcmtk (Debian, Ubuntu).")
    say("Starting Orthanc, the service and the bridge.")
    programs = [
        start_orthanc(folder, forwards=protocol == "dicom"),
        start_service(folder, weights),
        start_bridge(folder, protocol),
    ]
    try:
        say("Storing a synthetic study in Orthanc with storescu, and waiting for its results.")
        send_studies(folder / "studies", count)
        for number, program in enumerate(programs if count > 1 else []):
            wait_until(lambda wanted=3 * number + 2: len(deliveries(folder)) >= wanted, TIMEOUT_S)
            program.kill()
            sleep(2)
            program.start()
        wait_until(lambda: len(deliveries(folder)) >= count, TIMEOUT_S)
        say(f"The archive has the results. Waiting {SETTLE_S} s, to see that nothing is delivered twice.")
        sleep(SETTLE_S)
        print(json.dumps({"archive": read_archive(), "deliveries": deliveries(folder)}))
    finally:
        for program in programs:
            program.kill()


def say(message: str) -> None:
    """Tell a person what happens, on standard error."""
    print(message, file=sys.stderr, flush=True)


def start_orthanc(folder: Path, *, forwards: bool) -> Program:
    """Orthanc with the configuration that the Compose file uses."""
    configuration = (CONFIGURATION / "orthanc.json").read_text()
    if not forwards:
        configuration = configuration.replace("${SCRIPTS}/forward.lua", "")
    (folder / "orthanc.json").write_text(configuration.replace('[""]', "[]"))
    environment = {"STORAGE": folder / "orthanc", "PLUGINS": PLUGINS, "SCRIPTS": CONFIGURATION, "BRIDGE": "127.0.0.1"}
    environment = os.environ | {name: str(value) for name, value in environment.items()}
    command = ["Orthanc", folder / "orthanc.json"]
    return Program(command, f"{ORTHANC}/system", folder / "orthanc.log", environment)


def start_service(folder: Path, weights: str) -> Program:
    """The service with the known networks."""
    environment = environment_with(spool=folder / "spool", weights=weights, device="cpu")
    return Program([GLIOSERVE, "serve"], f"{SERVICE}/readyz", folder / "service.log", environment)


def start_bridge(folder: Path, protocol: str) -> Program:
    """The bridge between them."""
    settings = {"folder": folder / "bridge", "quiet_s": 2, "send_to": DICOM}
    if protocol == "dicomweb":
        settings |= {"send_to": DICOMWEB, "poll": DICOMWEB, "poll_interval_s": 2}
    environment = environment_with(**{f"bridge_{name}": value for name, value in settings.items()})
    return Program([GLIOSERVE, "bridge"], f"{BRIDGE}/livez", folder / "bridge.log", environment)


def send_studies(folder: Path, count: int) -> None:
    """Store studies into Orthanc: the first of classic files, the others of enhanced ones."""
    phantom = make_phantom(SLAB_GRID)
    for number in range(count):
        study = {"StudyInstanceUID": f"1.2.3.{number + 1}", "StudyDate": f"{date.today():%Y%m%d}"}
        series = []
        for place, role in enumerate(Modality, 1):
            attributes = SEQUENCES[role] | study
            if number:
                series.append([make_enhanced(phantom[role], place, **attributes)])
            else:
                series.append(make_series(phantom[role], place, **attributes))
        for name, data in encode_all(*series).items():
            path = folder / str(number) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        store = ["storescu", "-R", "+sd", "+r", "-aec", "ORTHANC", "127.0.0.1", "4242", folder / str(number)]
        subprocess.run(store, check=True, capture_output=True)


def deliveries(folder: Path) -> dict[str, int]:
    """How often the bridge has delivered the results of each study, from its log."""
    lines = [line for line in (folder / "bridge.log").read_text().splitlines() if line.startswith("{")]
    events = [json.loads(line) for line in lines]
    return Counter(event["study"] for event in events if event.get("stage") == "delivered")


def read_archive() -> dict[str, dict[str, int]]:
    """The number of objects of each SOP class in each study of the archive."""
    found = {}
    for study in httpx2.get(f"{DICOMWEB}/studies").json():
        uid = study["0020000D"]["Value"][0]
        objects = httpx2.get(f"{DICOMWEB}/studies/{uid}/instances?includefield=00080016", timeout=60).json()
        found[uid] = Counter(UID(item["00080016"]["Value"][0]).name for item in objects)
    return found


if __name__ == "__main__":
    main()
