"""The archive that gets the results: a DICOM node (C-STORE) or a DICOMweb service (STOW-RS)."""

from collections.abc import Sequence
from typing import Protocol
from urllib.parse import urlsplit

from pydicom import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.presentation import build_context

from service.bridge.errors import Peer, PeerError, RefusedError
from service.bridge.http import connect_dicomweb, network_errors
from service.bridge.settings import DICOM_TLS, HTTP_SCHEMES, BridgeSettings
from service.bridge.tls import client_context

TIMEOUT_S = 60  # for a response of the archive
CONNECT_TIMEOUT_S = 5
SYNTAXES: list[str | UID] = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
SUCCESS, WARNINGS = 0x0000, (0xB000, 0xB006, 0xB007)  # with a warning the object is stored too (DICOM PS3.4, B.2.3)


class Archive(Protocol):
    """Where results go."""

    def store(self, objects: Sequence[Dataset]) -> None:
        """Store DICOM objects; objects that are stored already change nothing. Raises PeerError or RefusedError."""


class DicomNode:
    """An archive that is reached by C-STORE."""

    def __init__(self, settings: BridgeSettings) -> None:
        """Raises SettingsError if TLS is needed and cannot be used."""
        self._address = urlsplit(settings.send_to)
        self._tls = client_context(settings) if self._address.scheme == DICOM_TLS else None
        self._ae_title = settings.ae_title

    def store(self, objects: Sequence[Dataset]) -> None:
        """Send all objects in one association. Raises PeerError or RefusedError."""
        node = AE(self._ae_title)
        node.acse_timeout = node.dimse_timeout = node.network_timeout = TIMEOUT_S
        node.connection_timeout = CONNECT_TIMEOUT_S
        classes = sorted({dataset.SOPClassUID for dataset in objects})
        association = node.associate(
            self._address.hostname or "",
            self._address.port or 0,
            [build_context(name, SYNTAXES) for name in classes],
            ae_title=self._address.username or "",
            tls_args=(self._tls, self._address.hostname or "") if self._tls else None,
        )
        if not association.is_established:
            raise PeerError(Peer.ARCHIVE, "no association")
        try:
            for dataset in objects:
                _store(association, dataset)
        finally:
            association.release()


class DicomWebService:
    """An archive that is reached by STOW-RS."""

    def __init__(self, settings: BridgeSettings) -> None:
        """Raises SettingsError."""
        self._client = connect_dicomweb(settings.send_to, settings)

    def store(self, objects: Sequence[Dataset]) -> None:
        """Send all objects in one request. Raises PeerError or RefusedError."""
        with network_errors(Peer.ARCHIVE):
            answer = self._client.store_instances(objects)
        if failed := answer.get("FailedSOPSequence"):
            raise RefusedError(f"{len(failed)} of {len(objects)} objects")


def open_archive(settings: BridgeSettings) -> Archive:
    """The archive that the settings name; nothing is sent yet. Raises SettingsError."""
    is_dicomweb = urlsplit(settings.send_to).scheme in HTTP_SCHEMES
    return DicomWebService(settings) if is_dicomweb else DicomNode(settings)


def _store(association: Association, dataset: Dataset) -> None:
    if not association.is_established:
        raise PeerError(Peer.ARCHIVE, "association aborted")
    name = dataset.SOPClassUID.name
    try:
        status = association.send_c_store(dataset).get("Status")
    except ValueError as error:  # no presentation context
        raise RefusedError(f"no support for {name}") from error
    if status is None:
        raise PeerError(Peer.ARCHIVE, "no response")
    if status != SUCCESS and status not in WARNINGS:
        raise RefusedError(f"status 0x{status:04X} for {name}")
