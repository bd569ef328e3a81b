"""`glioserve doctor`: its findings, and the fix that it names for each fault."""

from types import SimpleNamespace

import pytest
import torch
from support.command_line import run_glioserve

from service.command_line import doctor
from service.command_line.doctor import examine
from service.networks.checkpoints import load_model


@pytest.fixture
def environment(weights, tmp_path):
    """The environment of a valid setup."""
    return {"GLIOSERVE_WEIGHTS": str(weights), "GLIOSERVE_SPOOL": str(tmp_path / "spool"), "GLIOSERVE_DEVICE": "cpu"}


def fixes(environment):
    """The fix of each fault by subject."""
    return {finding.subject: finding.fix for finding in examine(environment) if finding.fix}


def findings(environment):
    """The findings by subject."""
    return {finding.subject: finding.found for finding in examine(environment)}


def test_doctor_finds_no_fault_in_a_valid_setup(environment, weights):
    assert fixes(environment) == {}
    found, model = findings(environment), load_model(weights, torch.device("cpu"))
    assert {c.card.sha256 in found[f"weights {c.card.stem}"] for c in model.checkpoints} == {True}
    assert model.sha256 in found["weights"]
    assert torch.__version__ in found["torch"]


def test_doctor_does_not_create_the_spool(environment, tmp_path):
    findings(environment)
    assert not (tmp_path / "spool").exists()


def test_doctor_lists_faults_and_exits_with_status_1(environment):
    settings = {name.removeprefix("GLIOSERVE_"): value for name, value in environment.items()}
    valid = run_glioserve("doctor", **settings)
    assert valid.returncode == 0
    assert "!!" not in valid.stdout
    faulty = run_glioserve("doctor", **settings, host="::")
    assert faulty.returncode == 1
    assert "!!  settings      invalid\n    -> GLIOSERVE_HOST: expected a loopback address" in faulty.stdout
    assert "weights wt" in faulty.stdout
    assert faulty.stderr == "1 problem to fix: the lines with !!\n"


def test_invalid_settings_are_the_only_finding():
    assert set(findings({"GLIOSERVE_PROT": "1"})) == {"settings"}


def test_a_missing_gpu_is_a_fault_if_one_is_required(environment, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "GPU" in fixes(environment | {"GLIOSERVE_DEVICE": "cuda"})


def test_a_gpu_with_too_little_free_memory_is_a_fault(model, monkeypatch):
    settings = SimpleNamespace(device_memory_mib=2048)
    for free_mib, is_enough in [(3000, True), (1, False)]:
        free_and_total = free_mib * 2**20, 4096 * 2**20
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: free_and_total)  # noqa: B023
        finding = doctor._examine_gpu_memory(settings, model, torch.float16)
        assert f"4096 MiB, {free_mib} free" in finding.found
        assert (finding.fix == "") is is_enough


def test_unusable_weights_are_a_fault(environment, tmp_path):
    assert (
        "Weights: expected each of WT, TC, ET once"
        in findings(environment | {"GLIOSERVE_WEIGHTS": str(tmp_path)})["weights"]
    )
    assert "weights" in fixes(environment | {"GLIOSERVE_WEIGHTS": str(tmp_path)})


def test_a_precision_without_weights_is_a_fault(environment):
    assert "weights" in fixes(environment | {"GLIOSERVE_PRECISION": "int8"})


def test_too_little_memory_is_a_fault(environment, monkeypatch):
    monkeypatch.setattr(doctor, "usable_memory_mib", lambda: 1000)
    assert fixes(environment) == {"memory": "give the machine, or the container, more memory"}


def test_an_unusable_spool_is_a_fault(environment, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    assert "contains other files" in fixes(environment | {"GLIOSERVE_SPOOL": str(tmp_path)})["spool"]
    assert "make it writable" in fixes(environment | {"GLIOSERVE_SPOOL": str(tmp_path / "file" / "x")})["spool"]
    assert "free disk space" in fixes(environment | {"GLIOSERVE_MAX_SPOOL_MIB": "999999999"})["spool"]
    assert "user" in fixes(environment | {"GLIOSERVE_SPOOL": "~nobody-here/spool"})["spool"]
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/sda / ext4 rw 0 0\nserver:/x {tmp_path} nfs4 rw 0 0\n")
    monkeypatch.setattr(doctor, "MOUNTS", mounts)
    assert "a network file system (nfs4)" in fixes(environment)["spool"]


def test_active_keys_are_counted_and_a_missing_keys_file_is_a_fault(environment, tmp_path):
    keys = tmp_path / "keys"
    environment = environment | {"GLIOSERVE_KEYS_FILE": str(keys)}
    assert fixes(environment)["keys"].startswith("GLIOSERVE_KEYS_FILE: expected a file created by `glioserve keys add`")
    keys.touch()
    assert "keys add" in fixes(environment)["keys"]
    assert run_glioserve("keys", "add", "ward-7", keys_file=keys).returncode == 0
    assert findings(environment)["keys"] == "1 active"
    assert fixes(environment) == {}


def test_unreadable_tls_files_are_a_fault(environment):
    files = {"GLIOSERVE_TLS_CERTIFICATE": "/none", "GLIOSERVE_TLS_KEY": "/none"}
    assert "GLIOSERVE_TLS_CERTIFICATE" in fixes(environment | files)["TLS"]
