"""The spool folder: ownership, permissions, and clean-up at startup."""

import stat

import pytest

from service.errors import SettingsError
from service.jobs.records import JobRecords
from service.jobs.spool import Spool


def test_a_folder_with_other_files_is_rejected_and_left_unchanged(tmp_path):
    (tmp_path / "patients").mkdir()
    (tmp_path / "patients" / "scan").touch()
    tmp_path.chmod(0o755)
    with pytest.raises(SettingsError, match="an existing spool, found a folder with other files"):
        Spool(tmp_path, max_mib=1)
    assert (tmp_path / "patients" / "scan").exists()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_only_job_folders_are_removed_at_startup(tmp_path):
    Spool(tmp_path, max_mib=1).close()
    job, other = tmp_path / ("0" * 32), tmp_path / "backup"
    for folder in (job, other):
        folder.mkdir()
        (folder / "file").touch()
    spool = Spool(tmp_path, max_mib=1)
    assert spool.remove_orphans([]) == 1
    spool.close()
    assert not job.exists()
    assert (other / "file").exists()


def test_a_new_disk_with_lost_and_found_counts_as_empty(tmp_path):
    (tmp_path / "lost+found").mkdir()
    Spool(tmp_path, max_mib=1).close()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


def test_a_database_that_cannot_be_opened_is_an_error_and_not_replaced(tmp_path):
    (tmp_path / "jobs.sqlite3").mkdir()
    with pytest.raises(
        SettingsError, match=r"a disk that accepts job records, found: unable to open.* nothing is lost"
    ):
        JobRecords(tmp_path)
