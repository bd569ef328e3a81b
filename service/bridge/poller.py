"""Finds new studies in a DICOMweb service and retrieves their images (QIDO-RS, WADO-RS)."""

from datetime import date, timedelta
from typing import Any
from urllib.parse import parse_qsl

from pydicom import Dataset

from service.bridge.errors import FullError, Peer, PeerError, RefusedError
from service.bridge.http import connect_dicomweb, network_errors
from service.bridge.metrics import BridgeMetrics
from service.bridge.settings import BridgeSettings
from service.bridge.store import StudyStore
from service.bridge.study import hash_of
from service.dicom.frames import IMAGE_CLASSES
from service.monitoring.log import log_line

PAGE = 100  # studies in a response
ANY_SYNTAX = (("application/dicom", "*"),)  # as stored; otherwise the archive would decompress


class Poller:
    """Retrieves the MR images of recent studies that the store does not know yet."""

    def __init__(self, settings: BridgeSettings, store: StudyStore, metrics: BridgeMetrics) -> None:
        """Raises SettingsError."""
        self._settings, self._store, self._metrics = settings, store, metrics
        self._client = connect_dicomweb(settings.poll, settings)

    def poll(self) -> None:
        """Search once. What fails is logged; the next search makes up for it."""
        try:
            study_uids = self._find_studies()
        except (PeerError, RefusedError) as error:
            self._metrics.set_peer(Peer.SOURCE, is_up=False)
            log_line("search-failed", reason=str(error))
            return
        self._metrics.set_peer(Peer.SOURCE, is_up=True)
        for study_uid in study_uids:
            try:
                self._retrieve_study(study_uid)
            except (PeerError, RefusedError, FullError) as error:
                log_line("retrieval-failed", study=hash_of(study_uid), reason=str(error))

    def _find_studies(self) -> dict[str, None]:
        """The StudyInstanceUIDs of recent studies. Raises PeerError or RefusedError."""
        today = date.today()
        first = today - timedelta(days=self._settings.poll_days)
        filters = {"ModalitiesInStudy": "MR", "StudyDate": f"{first:%Y%m%d}-{today:%Y%m%d}"}
        filters |= dict(parse_qsl(self._settings.poll_filter))
        found: dict[str, None] = {}
        while True:
            with network_errors(Peer.SOURCE):
                page = self._client.search_for_studies(search_filters=filters, limit=PAGE, offset=len(found))
            new = dict.fromkeys(uid for study in page if (uid := _value(study, "0020000D")) not in found)
            found |= new
            if not new or len(page) < PAGE:  # some services ignore the offset
                return found

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
            self._metrics.images.inc(self._store.add_image(study_uid, uid, path))
        finally:
            path.unlink(missing_ok=True)


def _value(item: dict[str, Any], tag: str) -> str:
    """The value of an attribute in a response."""
    return str(item[tag]["Value"][0])
