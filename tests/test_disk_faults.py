"""The spool: who may read it, its limit, a full disk and missing write permission."""

import os
import subprocess

import pytest
from support.api import ASYNC, list_job_files, post_case, read_problem, submit_case, wait_for_job
from support.running_service import ready_client

NOBODY = 65534  # the user id


def test_only_the_owner_may_read_the_spool(client):
    folder = client.app.state.runtime.queue.spool.folder
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_case_over_the_spool_limit_is_507(settings, phantom_zip):
    with ready_client(settings.model_copy(update={"max_spool_mib": 1})) as client:
        announced = client.post("/segment", files={"file": phantom_zip})
        assert "at most 1 MiB" in read_problem(announced, 507, "spool-full")
        chunks = (phantom_zip[start : start + 2**18] for start in range(0, len(phantom_zip), 2**18))
        response = client.post("/segment", content=chunks, headers={"Content-Type": "application/zip"})
        assert "at most 1 MiB" in read_problem(response, 507, "spool-full")
        assert list_job_files(client) == []


@pytest.fixture
def small_disk(settings):
    """Settings with a spool on a disk of 12 MiB."""
    settings.spool.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", settings.spool], check=False)
    if os.geteuid() != 0 or mounted.returncode != 0:
        pytest.skip("only root can mount a small disk")
    yield settings
    subprocess.run(["umount", settings.spool], check=True)


def test_a_full_disk_is_507_and_other_jobs_are_unaffected(small_disk, phantom_zip):
    with ready_client(small_disk) as client:
        job = submit_case(client, phantom_zip)
        filler = small_disk.spool / "filler"
        filler.write_bytes(bytes(8 * 2**20))
        read_problem(post_case(client, phantom_zip, **ASYNC), 507, "spool-full")
        assert wait_for_job(client, job)["state"] == "done"
        filler.unlink()
        assert wait_for_job(client, submit_case(client, phantom_zip))["state"] == "done"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can switch to a user without write permission")
def test_a_spool_without_write_permission_is_507_and_other_jobs_are_unaffected(settings, phantom_zip):
    with ready_client(settings) as client:
        job = submit_case(client, phantom_zip)
        wait_for_job(client, job)
        os.seteuid(NOBODY)
        try:
            response = post_case(client, phantom_zip)
        finally:
            os.seteuid(0)
        assert "Permission denied" in read_problem(response, 507, "spool-full")
        assert client.get(f"{job}/result").status_code == 200
        assert post_case(client, phantom_zip).status_code == 200
