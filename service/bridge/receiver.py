"""The DICOM node: receives images by C-STORE and answers C-ECHO."""

import logging
import tempfile
from pathlib import Path
from socket import socket
from typing import cast

from pydicom import dcmread
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, _config, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.transport import AssociationSocket, ThreadedAssociationServer

from service.bridge.errors import FullError
from service.bridge.metrics import BridgeMetrics
from service.bridge.settings import BridgeSettings
from service.bridge.store import StudyStore
from service.bridge.tls import server_context
from service.dicom.frames import IMAGE_CLASSES, READ_ERRORS
from service.errors import SettingsError
from service.monitoring.log import log_line
from service.settings import BRIDGE_PREFIX

SUCCESS, OUT_OF_RESOURCES, CANNOT_UNDERSTAND = 0x0000, 0xA700, 0xC000  # status of C-STORE (DICOM PS3.4, B.2.3)
MAX_ASSOCIATIONS = 10
MAX_PDU_BYTES = 2**20  # a request for an association with all storage classes takes a tenth; data comes in 16 KiB
SILENCE_S = 30.0  # within a PDU or a TLS handshake, after which a connection is closed
VERIFICATION = "1.2.840.10008.1.1"  # C-ECHO


class Receiver:
    """Receives the images of studies into the store.

    Objects that are not MR images are confirmed and discarded, so that an archive can send whole studies. The results
    of the bridge itself are among them: an archive that forwards them to the bridge cannot cause an endless loop.
    """

    def __init__(self, settings: BridgeSettings, store: StudyStore, metrics: BridgeMetrics) -> None:
        """Raises SettingsError if TLS is configured and cannot be used."""
        self._settings, self._store, self._metrics = settings, store, metrics
        self._tls = server_context(settings)

    def start(self) -> ThreadedAssociationServer:
        """Listen, in threads, until `shutdown` of the returned server. Raises SettingsError."""
        logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)  # it logs data sets
        _config.STORE_RECV_CHUNKED_DATASET = True  # to a temporary file, as images can be large
        tempfile.tempdir = str(self._store.incoming)
        node = AE(self._settings.ae_title)
        node.require_called_aet = True
        node.require_calling_aet = self._settings.callers
        node.maximum_associations = MAX_ASSOCIATIONS
        for context in AllStoragePresentationContexts:
            node.add_supported_context(str(context.abstract_syntax), ALL_TRANSFER_SYNTAXES)
        node.add_supported_context(VERIFICATION)
        address = self._settings.host, self._settings.port
        try:
            server = node.start_server(
                address,
                block=False,
                ssl_context=self._tls,
                evt_handlers=[
                    (evt.EVT_CONN_OPEN, _limit_connection),
                    (evt.EVT_C_STORE, self._store_image),
                    (evt.EVT_REJECTED, self._log_rejection),
                ],
            )
            return cast(ThreadedAssociationServer, server)  # as it does not block
        except OSError as error:
            raise SettingsError(
                f"{BRIDGE_PREFIX}HOST, {BRIDGE_PREFIX}PORT: expected a free address of this machine, found "
                f"{address[0]} port {address[1]}: {error.strerror}."
            ) from error

    def _store_image(self, event: evt.Event) -> int:
        """Store an object, and return the status of C-STORE only when it is safe on disk."""
        request = cast(C_STORE, event.request)
        if request.AffectedSOPClassUID not in IMAGE_CLASSES:
            self._metrics.discarded.inc()
            return SUCCESS
        path = Path(event.dataset_path)
        try:
            header = dcmread(path, specific_tags=["StudyInstanceUID"], stop_before_pixels=True)
            study_uid = str(header.StudyInstanceUID or "")
        except READ_ERRORS:
            study_uid = ""
        if not study_uid:
            return self._reject(CANNOT_UNDERSTAND, "unreadable, or without StudyInstanceUID")
        try:
            is_new = self._store.add_image(study_uid, str(request.AffectedSOPInstanceUID), path)
        except (FullError, OSError) as error:
            return self._reject(OUT_OF_RESOURCES, str(error) if isinstance(error, FullError) else type(error).__name__)
        self._metrics.images.inc(is_new)
        return SUCCESS

    def _reject(self, status: int, reason: str) -> int:
        self._metrics.rejected.inc()
        log_line("image-rejected", status=f"0x{status:04X}", reason=reason)
        return status

    @staticmethod
    def _log_rejection(event: evt.Event) -> None:
        log_line("association-rejected", caller=event.assoc.requestor.ae_title, address=event.assoc.requestor.address)


def _limit_connection(event: evt.Event) -> None:
    """Limit the length of PDUs, and the time without data.

    Otherwise pynetdicom reads PDUs of up to 4 GiB into memory, before it knows who sends them.
    """
    connection = cast(AssociationSocket, event.assoc.dul.socket)
    receive = connection.recv

    def receive_limited(nr_bytes: int) -> bytearray:
        if nr_bytes > MAX_PDU_BYTES:
            raise OSError(f"expected PDUs of at most {MAX_PDU_BYTES} bytes, found {nr_bytes}")
        return receive(nr_bytes)

    connection.recv = receive_limited  # type: ignore[method-assign]  # pynetdicom has no setting for it
    cast(socket, connection.socket).settimeout(SILENCE_S)
