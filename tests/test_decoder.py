"""The decoder process: its results, limits, crashes and restarts."""

import os
import resource
import signal
from contextlib import closing
from pathlib import Path
from threading import Timer

import pytest
from support.case_files import make_case_files, make_zip
from support.running_service import wait_until

from service.errors import BrokenArchiveError, CrashError, DecodingError, TooLargeError
from service.imaging.reading import read_case
from service.intake import decoder as service_decoder
from service.intake import decoder_process
from service.intake.decoder import Decoder


@pytest.fixture
def decoder():
    with closing(Decoder(max_unpacked_mib=1)) as decoder:
        yield decoder


@pytest.fixture
def upload(tmp_path):
    """The folder of a valid upload."""
    (tmp_path / "file").write_bytes(make_zip(make_case_files()))
    return tmp_path


@pytest.fixture
def blocking_upload(tmp_path):
    """The folder of an upload that is never read to its end."""
    folder = tmp_path / "blocking"
    folder.mkdir()
    os.mkfifo(folder / "file")
    return folder


def test_the_decoder_process_returns_the_same_case(decoder, upload):
    expected = read_case(make_case_files())
    decoded, reasons_to_prepare = decoder.read(upload)
    assert all((decoded.images[modality].voxels == volume.voxels).all() for modality, volume in expected.images.items())
    assert all((decoded.images[modality].affine == volume.affine).all() for modality, volume in expected.images.items())
    assert decoded.ground_truth is None
    assert reasons_to_prepare == []


def test_an_invalid_upload_raises_its_own_error(decoder, upload):
    (upload / "file").write_bytes(b"no zip")
    with pytest.raises(BrokenArchiveError, match="expected a whole zip"):
        decoder.read(upload)


def test_a_crash_is_reported_and_the_next_case_is_decoded(decoder, upload, blocking_upload):
    Timer(0.5, os.kill, [decoder.pid, signal.SIGSEGV]).start()
    with pytest.raises(CrashError, match="crashed the decoder process"):
        decoder.read(blocking_upload)
    assert decoder.read(upload)[0].grid.shape == (8, 9, 10)


def test_a_killed_decoder_process_is_replaced(decoder, upload):
    decoder.read(upload)
    os.kill(decoder.pid, signal.SIGKILL)
    wait_until(lambda: decoder.has_ended)
    assert decoder.read(upload)[0].grid.shape == (8, 9, 10)


def test_a_case_over_the_time_limit_is_aborted(decoder, upload, blocking_upload, monkeypatch):
    monkeypatch.setattr(service_decoder, "MAX_SECONDS", 0.3)
    with pytest.raises(CrashError, match=r"longer than the 0\.3 s"):
        decoder.read(blocking_upload)
    monkeypatch.undo()
    assert decoder.read(upload)[0].grid.shape == (8, 9, 10)


def test_decoding_can_be_cancelled(decoder, upload, blocking_upload):
    def cancel():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decoder.read(blocking_upload, check_cancelled=cancel)
    assert decoder.read(upload)[0].grid.shape == (8, 9, 10)


def test_nothing_is_imported_from_the_working_directory(upload, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "resource.py").write_text("raise SystemExit")
    with closing(Decoder(max_unpacked_mib=1)) as decoder:
        assert decoder.read(upload)[0].grid.shape == (8, 9, 10)


def test_the_decoder_process_ignores_shutdown_signals(decoder, upload):
    decoder.read(upload)
    pid = decoder.pid
    os.kill(pid, signal.SIGTERM)
    os.kill(pid, signal.SIGINT)
    decoder.read(upload)
    assert decoder.pid == pid
    assert not decoder.has_ended


def test_the_decoder_process_has_limits_and_dumps_no_core(decoder, upload):
    decoder.read(upload)
    assert resource.prlimit(decoder.pid, resource.RLIMIT_DATA)[0] == decoder_process.MAX_MEMORY_MIB * 2**20
    assert resource.prlimit(decoder.pid, resource.RLIMIT_CORE) == (0, 0)
    assert Path(f"/proc/{decoder.pid}/oom_score_adj").read_text() == "1000\n"


@pytest.mark.parametrize(
    ("failure", "name", "phrase"),
    [
        (MemoryError(), TooLargeError.__name__, "MiB of memory"),
        (TypeError("DOE^JANE"), DecodingError.__name__, "TypeError in test_decoder.py"),
    ],
)
def test_error_messages_do_not_quote_the_file(failure, name, phrase, monkeypatch):
    def fail(*_):
        raise failure

    monkeypatch.setattr(decoder_process, "open_upload", fail)
    reply, shared = decoder_process.Reader().answer(
        {"folder": "folder", "max_unpacked_mib": 1, "options": {"prepare": "auto"}}
    )
    assert reply["error"] == name
    assert phrase in reply["message"]
    assert "DOE" not in reply["message"]
    assert shared == []


def test_decoding_leaks_no_file_descriptors(decoder, upload):
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        decoder.read(upload)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
