"""DICOM nodes on the loopback address: an archive that keeps what it is sent, and a sender of files."""

import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO

from pydicom import Dataset, dcmread
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.presentation import build_context

from support.running_service import free_port

SUCCESS, REFUSED = 0x0000, 0xA700
VERIFICATION = "1.2.840.10008.1.1"


class ArchiveNode:
    """Keeps the objects that it is sent, by SOPInstanceUID, and counts them; it may refuse."""

    def __init__(self) -> None:
        self.port = free_port()
        self.objects: dict[str, Dataset] = {}
        self.received = 0
        self.status = SUCCESS

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Listen meanwhile."""
        node = AE("ARCHIVE")
        for context in AllStoragePresentationContexts:
            node.add_supported_context(context.abstract_syntax)
        handlers = [(evt.EVT_C_STORE, self._store)]
        server = node.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)
        try:
            yield
        finally:
            server.shutdown()

    def _store(self, event: evt.Event) -> int:
        self.received += 1
        if self.status == SUCCESS:
            dataset = event.dataset
            self.objects[dataset.SOPInstanceUID] = dataset
        return self.status


def send_files(
    files: Iterable[bytes],
    port: int,
    called: str = "GLIOSERVE",
    caller: str = "SCANNER",
    tls: ssl.SSLContext | None = None,
) -> list[int]:
    """Send DICOM files by C-STORE; return the status of each. Raises ConnectionError without an association."""
    datasets = [dcmread(BytesIO(file)) for file in files]
    classes = sorted({(data.SOPClassUID, data.file_meta.TransferSyntaxUID) for data in datasets})
    contexts = [build_context(name, syntax) for name, syntax in classes] or [build_context(VERIFICATION)]
    association = AE(caller).associate(
        "127.0.0.1", port, contexts, ae_title=called, tls_args=(tls, "127.0.0.1") if tls else None
    )
    if not association.is_established:
        raise ConnectionError
    try:
        if not datasets:
            return [association.send_c_echo().Status]
        return [association.send_c_store(data).Status for data in datasets]
    finally:
        association.release()
