"""Studies on the bridge's disk: nothing that was stored is lost, and nothing is stored twice."""

from time import time

import pytest

from service.bridge.backoff import FIRST_PAUSE_S, LONGEST_PAUSE_S, Backoff
from service.bridge.errors import FullError
from service.bridge.store import LEFTOVER_S, RECORDS_KEPT_S, StudyStore
from service.bridge.study import Stage
from service.errors import SettingsError


@pytest.fixture
def store(tmp_path):
    store = StudyStore(tmp_path / "bridge", 1)
    yield store
    store.close()


def add(store, study, instance, content=b"pixels"):
    path = store.new_file()
    path.write_bytes(content)
    store.add_image(study, instance, path)


def test_images_and_records_survive_the_end_of_the_process(store, tmp_path):
    add(store, "1.2", "1.2.1")
    [study] = store.studies()
    study.write_record(stage=Stage.SEGMENTING, images=study.image_names, job="/jobs/7")
    store.close()
    reopened = StudyStore(tmp_path / "bridge", 1)
    [found] = reopened.studies()
    reopened.close()
    assert [path.read_bytes() for path in found.image_paths] == [b"pixels"]
    assert (found.record.stage, found.record.images, found.record.job) == ("segmenting", found.image_names, "/jobs/7")


def test_the_first_copy_of_an_image_counts(store):
    add(store, "1.2", "1.2.1", b"first")
    add(store, "1.2", "1.2.1", b"other")
    [study] = store.studies()
    assert [path.read_bytes() for path in study.image_paths] == [b"first"]
    assert list(store.incoming.iterdir()) == []


def test_names_on_disk_contain_no_uid(store, tmp_path):
    add(store, "1.2.840.99", "1.2.840.99.1")
    assert "1.2.840" not in "".join(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))


def test_a_full_folder_refuses_images_and_takes_them_again_once_there_is_room(store):
    add(store, "1.2", "1.2.1", bytes(900_000))
    with pytest.raises(FullError):
        add(store, "1.2", "1.2.2", bytes(900_000))
    [study] = store.studies()
    with store.changing(study):
        study.remove_files()
    add(store, "1.2", "1.2.2", bytes(900_000))


def test_a_damaged_record_is_that_of_a_new_study(store):
    add(store, "1.2", "1.2.1")
    [study] = store.studies()
    study.write_record(stage=Stage.DELIVERED)
    (study.folder / "record.json").write_text("{")
    assert study.record.stage == Stage.RECEIVING


def test_only_unknown_images_are_missing(store):
    add(store, "1.2", "1.2.1")
    [study] = store.studies()
    assert store.missing_images("1.2", ["1.2.1", "1.2.2"]) == ["1.2.2"]
    study.write_record(stage=Stage.DELIVERED, images=study.image_names)
    study.remove_files()
    assert store.missing_images("1.2", ["1.2.1", "1.2.2"]) == ["1.2.2"]
    assert store.missing_images("1.3", ["1.2.1"]) == ["1.2.1"]


@pytest.mark.usefixtures("store")
def test_a_folder_belongs_to_one_bridge(tmp_path):
    with pytest.raises(SettingsError, match="another bridge"):
        StudyStore(tmp_path / "bridge", 1)


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "incoming").mkdir()
    (tmp_path / "incoming" / "scan.dcm").touch()
    mode = tmp_path.stat().st_mode
    with pytest.raises(SettingsError, match="other files"):
        StudyStore(tmp_path, 1)
    assert (tmp_path / "incoming" / "scan.dcm").exists()
    assert tmp_path.stat().st_mode == mode


def test_a_folder_that_cannot_be_used_is_a_settings_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="GLIOSERVE_BRIDGE_FOLDER"):
        StudyStore(tmp_path / "file", 1)


def test_files_of_broken_connections_and_old_records_are_removed(store, monkeypatch):
    store.new_file()
    add(store, "1.2", "1.2.1")
    [study] = store.studies()
    study.write_record(stage=Stage.DELIVERED)
    study.remove_files()
    add(store, "1.3", "1.3.1")
    for later_s, files, is_known in ((0, 1, True), (LEFTOVER_S + 1, 0, True), (RECORDS_KEPT_S + 1, 0, False)):
        for module in ("store", "study"):
            monkeypatch.setattr(f"service.bridge.{module}.time", lambda later_s=later_s: time() + later_s)
        store.remove_expired()
        assert (len(list(store.incoming.iterdir())), study.folder.exists()) == (files, is_known)
    assert len(store.studies()) == 1  # images are never removed by age alone


def test_pauses_double_up_to_a_limit_and_end_with_a_success():
    now = 0.0
    backoff = Backoff(lambda: now)
    assert backoff.is_due("archive")
    pause = FIRST_PAUSE_S
    for _ in range(12):
        backoff.postpone("archive")
        now += pause - 0.01
        assert not backoff.is_due("archive")
        assert backoff.is_due("service")
        now += 0.01
        assert backoff.is_due("archive")
        pause = min(2 * pause, LONGEST_PAUSE_S)
    backoff.reset("archive")
    backoff.postpone("archive")
    now += FIRST_PAUSE_S
    assert backoff.is_due("archive")
