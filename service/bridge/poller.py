"""Finds new studies in a DICOMweb service and retrieves their images (QIDO-RS, WADO-RS)."""

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any
from urllib.parse import parse_qsl

from pydicom import Dataset

from service.bridge.archive import connect_dicomweb
from service.bridge.errors import FullError, Peer, PeerError, RefusedError
from service.bridge.metrics import BridgeMetrics
from service.bridge.service_client import network_errors
from service.bridge.settings import BridgeSettings
from service.bridge.store import StudyStore
from service.dicom.frames import IMAGE_CLASSES
from service.monitoring.log import log_line

PAGE = 100  # studies in a response
ANY_SYNTAX = (("application/dicom", "*"),)  # as stored; otherwise the archive would decompress


class Poller:
    """Retrieves the MR images of recent studies that the store does not know yet."""

    def __init__(self, settings: BridgeSettings, store: StudyStore, metrics: BridgeMetrics) -> None:
        self._settings, self._store, self._metrics = settings, store, metrics
        self._client = connect_dicomweb(settings.poll, settings)

    def poll(self) -> None:
        """Search once. A failure is logged; the next search makes up for it."""
        try:
            for study_uid in self._find_studies():
                self._retrieve_study(study_uid)
            self._metrics.set_peer(Peer.SOURCE, is_up=True)
        except PeerError as error:
            self._metrics.set_peer(Peer.SOURCE, is_up=False)
            log_line("peer-unreachable", peer=Peer.SOURCE, reason=str(error))
        except (RefusedError, FullError) as error:
            log_line("poll-interrupted", reason=str(error))
        except Exception as error:  # an unforeseen response must not end the searches
            self._metrics.errors.inc()
            log_line("error", peer=Peer.SOURCE, type=type(error).__name__)

    def _find_studies(self) -> Iterator[str]:
        today = date.today()
        first = today - timedelta(days=self._settings.poll_days)
        filters = {"ModalitiesInStudy": "MR", "StudyDate": f"{first:%Y%m%d}-{today:%Y%m%d}"}
        filters |= dict(parse_qsl(self._settings.poll_filter))
        offset = 0
        while True:
            with network_errors(Peer.SOURCE):
                page = self._client.search_for_studies(search_filters=filters, limit=PAGE, offset=offset)
            yield from (_value(study, "0020000D") for study in page)
            offset += len(page)
            if len(page) < PAGE:
                return

    def _retrieve_study(self, study_uid: str) -> None:
        """Retrieve the images of a study that are missing here."""
        with network_errors(Peer.SOURCE):
            instances = self._client.search_for_instances(study_uid, fields=["SOPClassUID"])
        series = {
            _value(item, "00080018"): _value(item, "0020000E")
            for item in instances
            if _value(item, "00080016") in IMAGE_CLASSES
        }
        for uid in self._store.missing_images(study_uid, series):
            with network_errors(Peer.SOURCE):
                image = self._client.retrieve_instance(study_uid, series[uid], uid, media_types=ANY_SYNTAX)
            self._add_image(study_uid, uid, image)

    def _add_image(self, study_uid: str, uid: str, image: Dataset) -> None:
        path = self._store.new_file()
        try:
            image.save_as(path)
            self._store.add_image(study_uid, uid, path)
        finally:
            path.unlink(missing_ok=True)
        self._metrics.images.inc()


def _value(item: dict[str, Any], tag: str) -> str:
    """The value of an attribute in a response."""
    return str(item[tag]["Value"][0])
