"""The DICOM node of the bridge: whom it lets in, and what it confirms."""

import socket
import struct
from io import BytesIO

import pytest
from pydicom import dcmread
from support.dicom_files import SEQUENCES, encode, make_enhanced
from support.dicom_nodes import SUCCESS
from support.running_bridge import NO_ARCHIVE, running_bridge

from service.bridge.receiver import CANNOT_UNDERSTAND, MAX_PDU_BYTES, OUT_OF_RESOURCES
from service.imaging.case import Modality


@pytest.fixture(scope="module")
def image(phantom):
    return encode(make_enhanced(phantom[Modality.T1], 1, **SEQUENCES[Modality.T1]))


def test_images_are_refused_while_there_is_no_room(tmp_path, image):
    with running_bridge(tmp_path, send_to=NO_ARCHIVE, max_folder_mib=1) as bridge:
        assert bridge.send([image]) == [OUT_OF_RESOURCES]
        assert bridge.count("images_rejected_total") == 1
        assert list(bridge.store.incoming.iterdir()) == []


@pytest.mark.parametrize("study_uid", [None, ""])
def test_an_image_without_study_is_refused(tmp_path, image, study_uid):
    dataset = dcmread(BytesIO(image))
    dataset.StudyInstanceUID = study_uid
    with running_bridge(tmp_path, send_to=NO_ARCHIVE) as bridge:
        assert bridge.send([encode(dataset)]) == [CANNOT_UNDERSTAND]
        assert bridge.store.studies() == []


def test_only_allowed_callers_that_know_the_title_may_connect(tmp_path):
    with running_bridge(tmp_path, send_to=NO_ARCHIVE, allowed_callers="SCANNER") as bridge:
        assert bridge.send([]) == [SUCCESS]  # C-ECHO
        for titles in ({"caller": "OTHER"}, {"called": "OTHER"}):
            with pytest.raises(ConnectionError):
                bridge.send([], **titles)


def test_tls_requires_a_certificate_of_the_authority(tmp_path, tls, trust, client_certificate):
    files = {"tls_certificate": tls["tls_certificate"], "tls_key": tls["tls_key"], "tls_ca": tls["tls_client_ca"]}
    with running_bridge(tmp_path / "bridge", send_to=NO_ARCHIVE, **files) as bridge:
        assert bridge.send([], tls=client_certificate) == [SUCCESS]
        for context in (trust, None):
            with pytest.raises(ConnectionError):
                bridge.send([], tls=context)


def test_an_idle_connection_does_not_keep_others_waiting(tmp_path, tls, client_certificate):
    files = {name: tls[name] for name in ("tls_certificate", "tls_key")}
    with (
        running_bridge(tmp_path / "bridge", send_to=NO_ARCHIVE, **files) as bridge,
        socket.create_connection(("127.0.0.1", bridge.settings.port)),
    ):
        assert bridge.send([], tls=client_certificate) == [SUCCESS]


def test_a_pdu_that_is_too_long_ends_the_connection(tmp_path):
    with (
        running_bridge(tmp_path, send_to=NO_ARCHIVE) as bridge,
        socket.create_connection(("127.0.0.1", bridge.settings.port), timeout=10) as connection,
    ):
        connection.sendall(struct.pack(">BBL", 1, 0, MAX_PDU_BYTES + 1) + bytes(100))
        assert connection.recv(1) == b""
        assert bridge.send([]) == [SUCCESS]
