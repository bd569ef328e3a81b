"""The bridge between a real service and a DICOM node that plays the archive."""

from collections import Counter
from time import sleep

import httpx2
import pytest
from support.dicom_files import LOCALISER, PATIENT, SEQUENCES, encode, encode_all, make_enhanced, make_series
from support.dicom_nodes import REFUSED, SUCCESS, ArchiveNode
from support.running_bridge import NO_ARCHIVE, QUIET_S, running_bridge
from support.running_service import free_port, serve_in_thread, wait_until

from service.app import create_app
from service.bridge.study import Stage
from service.imaging.case import Modality
from service.settings import Settings

CLASSES = {"Segmentation Storage": 1, "Comprehensive 3D SR Storage": 1, "Secondary Capture Image Storage": 23}


@pytest.fixture(scope="module")
def service(weights, tmp_path_factory):
    folder = tmp_path_factory.mktemp("spool")
    with serve_in_thread(create_app(Settings(weights=weights, device="cpu", spool=folder))) as address:
        yield address


@pytest.fixture(scope="module")
def study(phantom):
    """One file for each modality."""
    series = [[make_enhanced(phantom[role], place, **SEQUENCES[role])] for place, role in enumerate(Modality, 1)]
    return dict(zip(Modality, encode_all(*series).values(), strict=True))


@pytest.fixture
def archive():
    node = ArchiveNode()
    with node.listening():
        yield node


@pytest.fixture
def bridge(tmp_path, service, archive):
    with running_bridge(tmp_path, service=service, send_to=f"dicom://ARCHIVE@127.0.0.1:{archive.port}") as bridge:
        yield bridge


def classes_of(archive):
    return Counter(dataset.SOPClassUID.name for dataset in archive.objects.values())


def test_a_study_comes_back_with_its_results(bridge, archive, study):
    assert bridge.send(study.values()) == [SUCCESS] * 4
    bridge.advance_until(Stage.DELIVERED)
    assert classes_of(archive) == CLASSES
    assert {data.StudyInstanceUID for data in archive.objects.values()} == {"1.2.3.4"}
    assert {str(data.PatientName) for data in archive.objects.values()} == {PATIENT}
    bridge.courier.advance_all()
    assert bridge.store.studies() == []


def test_a_study_that_is_sent_again_is_not_segmented_again(bridge, archive, study):
    bridge.send(study.values())
    bridge.advance_until(Stage.DELIVERED)
    received = archive.received
    results = [encode(data) for data in archive.objects.values()]
    assert set(bridge.send([*study.values(), *results])) == {SUCCESS}
    assert bridge.count("objects_discarded_total") == len(results)
    sleep(QUIET_S)
    for _ in range(3):
        bridge.courier.advance_all()
    assert archive.received == received
    assert bridge.store.studies() == []


def test_an_incomplete_study_is_segmented_when_it_is_complete(bridge, archive, study):
    late = study[Modality.T2]
    bridge.send(data for role, data in study.items() if role != Modality.T2)
    bridge.advance_until(Stage.FAILED)
    assert bridge.record.problem == "modalities"
    bridge.send([late])
    bridge.advance_until(Stage.DELIVERED)
    assert classes_of(archive) == CLASSES


def test_images_that_arrive_during_the_segmentation_are_included(bridge, study, phantom, service):
    bridge.send(study.values())
    bridge.advance_until(Stage.SEGMENTING)
    before = bridge.record.job
    bridge.send([encode(make_enhanced(phantom[Modality.T1], 9, **LOCALISER, RepetitionTime=5))])
    bridge.advance_until(Stage.DELIVERED)
    assert len(bridge.record.images) == 5
    assert httpx2.get(service + before).status_code == 404


def test_a_failed_study_is_tried_again_when_it_is_sent_again(bridge, study):
    for attempt in (1, 2):
        bridge.send([study[Modality.T1]])
        bridge.advance_until(Stage.FAILED, attempt)
    bridge.courier.advance_all()
    assert bridge.failures == 2


def test_results_wait_for_an_archive_that_is_away(tmp_path, service, study):
    archive = ArchiveNode()
    send_to = f"dicom://ARCHIVE@127.0.0.1:{archive.port}"
    with running_bridge(tmp_path, service=service, send_to=send_to) as bridge:
        bridge.send(study.values())
        bridge.advance_until(Stage.DELIVERING)
        bridge.courier.advance_all()
        assert bridge.count("peer_up", peer="archive") == 0
        with archive.listening():
            bridge.advance_until(Stage.DELIVERED)
        assert classes_of(archive) == CLASSES


def test_results_wait_for_an_archive_that_refuses(bridge, archive, study):
    archive.status = REFUSED
    bridge.send(study.values())
    bridge.advance_until(Stage.DELIVERING)
    bridge.courier.advance_all()
    assert archive.received == 1
    archive.status = SUCCESS
    bridge.advance_until(Stage.DELIVERED)


def test_a_request_that_the_service_refuses_is_repeated(tmp_path, service, study):
    options = "allow_mising=true"
    with running_bridge(tmp_path, service=service, send_to=NO_ARCHIVE, options=options) as bridge:
        bridge.send(study.values())
        wait_until(lambda: bridge.courier.advance_all() or bridge.count("peer_up", peer="service") == 0)
        assert bridge.record.stage == Stage.RECEIVING


def test_a_study_with_an_unforeseen_problem_does_not_stop_the_others(bridge, archive, study):
    (bridge.settings.folder / "studies" / "notes.txt").touch()
    bridge.store.add_image("1.2.3.99", "1.2.3.99.1", bridge.store.new_file())
    [broken] = bridge.store.studies()
    (broken.folder / "record.json").mkdir()
    bridge.send(study.values())
    wait_until(lambda: bridge.courier.advance_all() or archive.objects)
    assert bridge.count("errors_total") > 0


def test_a_job_that_the_service_lost_is_sent_again(bridge, archive, study, service):
    bridge.send(study.values())
    bridge.advance_until(Stage.SEGMENTING)
    httpx2.delete(service + bridge.record.job).raise_for_status()
    bridge.advance_until(Stage.DELIVERED)
    assert classes_of(archive) == CLASSES


def test_studies_wait_for_a_service_that_is_away(tmp_path, study):
    with running_bridge(tmp_path, service=f"http://127.0.0.1:{free_port()}", send_to=NO_ARCHIVE) as bridge:
        bridge.send(study.values())
        sleep(QUIET_S)
        bridge.courier.advance_all()
        [found] = bridge.store.studies()
        assert (found.record.stage, len(found.image_paths)) == (Stage.RECEIVING, 4)
        assert bridge.count("peer_up", peer="service") == 0


def test_the_log_and_the_metrics_contain_nothing_about_patients(bridge, study, phantom, caplog):
    caplog.set_level("INFO")
    bridge.send(study.values())
    bridge.advance_until(Stage.DELIVERED)
    bridge.send(encode_all(make_series(phantom[Modality.T1], 1, StudyInstanceUID="1.2.3.99")).values())
    text = caplog.text + bridge.metrics.render(bridge.store).decode()
    assert "delivered" in text
    assert not [word for word in (PATIENT, "1.2.3", "AX T1", "19700101") if word in text]
