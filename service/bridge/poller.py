"""Finds new studies in a DICOMweb service and retrieves their images (QIDO-RS, WADO-RS)."""

from collections.abc import Callable
from datetime import date, timedelta
from functools import partial
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

PAGE = 1000  # results in a response
STUDY_UID, SERIES_UID, INSTANCE_UID, CLASS_UID = "0020000D", "0020000E", "00080018", "00080016"
Found = dict[str, dict[str, Any]]  # attributes in DICOM JSON, by tag
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
            except Exception as error:  # a study with an unforeseen problem must not stop the others
                self._metrics.errors.inc()
                log_line("error", study=hash_of(study_uid), type=type(error).__name__)

    def _find_studies(self) -> list[str]:
        """The StudyInstanceUIDs of recent studies. Raises PeerError or RefusedError."""
        today = date.today()
        first = today - timedelta(days=self._settings.poll_days)
        filters = {"ModalitiesInStudy": "MR", "StudyDate": f"{first:%Y%m%d}-{today:%Y%m%d}"}
        filters |= dict(parse_qsl(self._settings.poll_filter))
        return list(_find_all(partial(self._client.search_for_studies, search_filters=filters), STUDY_UID))

    def _retrieve_study(self, study_uid: str) -> None:
        """Retrieve the images of a study that are missing here."""
        search = partial(self._client.search_for_instances, study_uid, fields=["SOPClassUID"])
        objects = _find_all(search, INSTANCE_UID)
        series = {
            uid: _value(found, SERIES_UID)
            for uid, found in objects.items()
            if _value(found, CLASS_UID) in IMAGE_CLASSES
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


def _find_all(search: Callable[..., list[Found]], key: str) -> dict[str, Found]:
    """All results of a search, by the UID with a tag. A service may limit its responses, and may ignore the offset."""
    found: dict[str, Found] = {}
    while True:
        with network_errors(Peer.SOURCE):
            page = search(limit=PAGE, offset=len(found))
        new = {uid: item for item in page if (uid := _value(item, key)) not in found}
        if not new:
            return found
        found |= new


def _value(found: Found, tag: str) -> str:
    """The value of an attribute in a response."""
    return str(found[tag]["Value"][0])
