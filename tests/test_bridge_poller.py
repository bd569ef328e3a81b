"""Searches for studies in a DICOMweb service that plays an archive."""

import pytest
from pydicom import dcmread
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from support.dicom_files import SEQUENCES, encode, make_enhanced
from support.running_bridge import NO_ARCHIVE, running_bridge
from support.running_service import serve_plainly

from service.bridge.poller import Poller
from service.imaging.case import Modality

BROKEN, STRANGE, WHOLE = "1.2.3.1", "1.2.3.2", "1.2.3.3"
OTHERS = ["1.2.4.1", "1.2.4.2"]
STUDIES = [BROKEN, STRANGE, WHOLE, *OTHERS]
MAX_RESULTS = 2  # in a response of the service


@pytest.fixture(scope="module")
def image(phantom):
    return make_enhanced(phantom[Modality.T1], 1, **SEQUENCES[Modality.T1], StudyInstanceUID=WHOLE)


@pytest.fixture
def source(image):
    """A DICOMweb service that sends two studies in a response, and of which two cannot be retrieved."""
    requests = []

    def find_studies(request):
        requests.append(request.query_params)
        offset = int(request.query_params["offset"])
        return JSONResponse([{"0020000D": {"Value": [uid]}} for uid in STUDIES[offset : offset + MAX_RESULTS]])

    def find_instances(request):
        uid = request.path_params["study"]
        if uid == STRANGE:
            return JSONResponse([{"00080018": {}}])
        if uid != WHOLE:
            return Response(status_code=404 if uid == BROKEN else 204)
        tags = {"00080016": image.SOPClassUID, "00080018": image.SOPInstanceUID, "0020000E": image.SeriesInstanceUID}
        return JSONResponse([{tag: {"Value": [value]} for tag, value in tags.items()}])

    def retrieve(_):
        part = b"--x\r\nContent-Type: application/dicom\r\n\r\n" + encode(image) + b"\r\n--x--"
        return Response(part, media_type='multipart/related; type="application/dicom"; boundary=x')

    routes = [
        Route("/studies", find_studies),
        Route("/studies/{study}/instances", find_instances),
        Route("/studies/{study}/series/{series}/instances/{instance}", retrieve),
    ]
    with serve_plainly(Starlette(routes=routes)) as address:
        yield address, requests


def test_a_study_that_cannot_be_retrieved_does_not_keep_others_waiting(source, image, tmp_path):
    address, requests = source
    with running_bridge(tmp_path, send_to=NO_ARCHIVE, poll=address, poll_filter="StudyDescription=*brain*") as bridge:
        poller = Poller(bridge.settings, bridge.store, bridge.metrics)
        for _ in range(2):
            poller.poll()
        [study] = bridge.store.studies()
        [path] = study.image_paths
        assert dcmread(path).SOPInstanceUID == image.SOPInstanceUID
        assert bridge.count("images_received_total") == 1
        assert bridge.count("peer_up", peer="source") == 1
    assert [query["offset"] for query in requests] == ["0", "2", "4", "5"] * 2
    assert {query["StudyDescription"] for query in requests} == {"*brain*"}


def test_a_source_that_is_unreachable_is_reported(tmp_path):
    with running_bridge(tmp_path, send_to=NO_ARCHIVE, poll="http://127.0.0.1:9") as bridge:
        Poller(bridge.settings, bridge.store, bridge.metrics).poll()
        assert bridge.count("peer_up", peer="source") == 0
