"""The audit log: its lines, its hash chain, and the detection of tampering."""

import json
import os
from hashlib import sha256

import httpx2
import pytest
from support.api import post_case, read_json_lines
from support.command_line import run_glioserve
from support.running_service import ready_client, serve_in_thread

from service.app import create_app
from service.errors import SettingsError
from service.security.audit import FIRST_HASH, AuditLog, verify
from service.security.keys import KeyFile, Scope
from service.settings import Settings


@pytest.fixture
def path(tmp_path):
    """An audit log of five lines."""
    audit = AuditLog()
    audit.record("before opening")
    audit.open(tmp_path / "audit")
    audit.record_start("model")
    for number in range(2):
        audit.record("request", number=number)
    audit.close()
    return tmp_path / "audit"


def test_each_line_has_the_hash_of_the_previous_line(path):
    lines = path.read_bytes().splitlines()
    assert [json.loads(line)["previous"] for line in lines] == [FIRST_HASH] + [
        sha256(line).hexdigest() for line in lines[:-1]
    ]
    assert [line["event"] for line in read_json_lines(path)] == ["before opening", "start", "request", "request", "end"]
    assert verify(path).faults == ()
    assert (verify(path).lines, verify(path).last_hash) == (5, sha256(lines[-1]).hexdigest())


@pytest.mark.parametrize(
    "tamper",
    [
        lambda lines: [*lines[:2], lines[2].replace(b": 0", b": 7"), *lines[3:]],
        lambda lines: [*lines[:2], *lines[3:]],
        lambda lines: [*lines[:2], lines[2], lines[2], *lines[3:]],
        lambda lines: lines[1:],
        lambda lines: [lines[0], lines[2], lines[1], *lines[3:]],
        lambda lines: [*lines[:2], b"{}", *lines[2:]],
        lambda lines: [*lines[:2], b"[" * 100_000, *lines[2:]],
    ],
    ids=["changed", "removed", "duplicated", "first removed", "swapped", "inserted", "deeply nested"],
)
def test_tampering_with_lines_is_detected(path, tamper):
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join(tamper(lines)) + b"\n")
    assert verify(path).faults != ()


def test_a_rewritten_audit_log_is_detected_by_a_hash_recorded_elsewhere(path):
    recorded = verify(path).last_hash
    audit = AuditLog()
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
    audit.open(path)
    audit.close()
    assert verify(path).faults == ()
    [fault] = verify(path, recorded).faults
    assert recorded in fault


def test_a_recorded_hash_is_found_in_an_audit_log_that_only_grew(path):
    recorded = verify(path).last_hash
    audit = AuditLog()
    audit.open(path)
    audit.close()
    assert verify(path, recorded).faults == ()


def test_the_next_process_continues_the_hash_chain(path):
    audit = AuditLog()
    audit.open(path)
    audit.close()
    assert verify(path).lines == 6
    assert verify(path).faults == ()


def test_a_truncated_last_line_is_the_only_fault_reported(path):
    path.write_bytes(path.read_bytes()[:-20])
    audit = AuditLog()
    audit.open(path)
    audit.record("request")
    audit.close()
    [fault] = verify(path).faults
    assert fault.startswith("line 5: expected JSON")


def test_lines_that_could_not_be_written_are_written_later(tmp_path, monkeypatch):
    audit = AuditLog()
    audit.open(tmp_path / "audit")
    whole_write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: whole_write(descriptor, data[:5]))
    audit.record("request", number=1)
    assert (tmp_path / "audit").read_bytes() == b""
    monkeypatch.undo()
    audit.record("request", number=2)
    audit.close()
    assert [line.get("number") for line in read_json_lines(tmp_path / "audit")] == [1, 2, None]
    assert verify(tmp_path / "audit").faults == ()


def test_an_audit_log_in_use_by_another_service_is_rejected(path):
    audit = AuditLog()
    audit.open(path)
    other = AuditLog()
    with pytest.raises(SettingsError, match="another service is using it"):
        other.open(path)
    other.close()
    audit.close()
    assert verify(path).faults == ()
    assert verify(path).lines == 6


def test_each_request_and_each_job_has_a_line(weights, tmp_path, phantom_zip):
    settings = Settings(weights=weights, device="cpu", spool=tmp_path / "spool", audit_log=tmp_path / "audit")
    with ready_client(settings) as client:
        assert post_case(client, phantom_zip).status_code == 200
        assert client.get("/jobs/Jane-Doe").status_code == 404
        assert client.request("DOE^JANE", "/segment").status_code == 405
    start, job, segment, unknown, rejected, end = read_json_lines(tmp_path / "audit")
    assert (start["event"], job["event"], end["event"]) == ("start", "job", "end")
    assert (job["outcome"], segment["status"], unknown["status"]) == ("done", 200, 404)
    assert job["input"] == segment["input"]
    assert segment["client"]
    assert job["model"] == start["model"]
    assert segment["bytes_in"] > len(phantom_zip)
    assert segment["bytes_out"] > 1000
    assert (segment["route"], unknown["route"]) == ("/segment", "/jobs/{job_id}")
    assert rejected["method"] == "other"


def test_audit_verify_names_the_line_that_breaks_the_chain(path):
    intact = run_glioserve("audit", "verify", path)
    assert intact.returncode == 0
    assert "5 lines" in intact.stdout
    path.write_bytes(path.read_bytes().replace(b": 0", b": 7"))
    changed = run_glioserve("audit", "verify", path)
    assert changed.returncode == 1
    assert "line 4: expected the previous line to have the hash" in changed.stderr


def test_audit_verify_rejects_a_noted_value_that_is_not_a_hash(path):
    result = run_glioserve("audit", "verify", path, "--noted", "0000")
    assert result.returncode == 1
    assert result.stderr == "--noted: expected a hash of 64 hexadecimal digits, found '0000'\n"


def test_monitoring_requests_are_recorded_only_if_rejected(weights, tmp_path):
    keys, audit = tmp_path / "keys", tmp_path / "audit"
    key = KeyFile(keys).add("monitor", [Scope.READ])
    with ready_client(Settings(weights=weights, spool=tmp_path / "spool", audit_log=audit, keys_file=keys)) as client:
        for path in ("/livez", "/readyz", "/metrics"):
            assert client.get(path, headers={"Authorization": f"Bearer {key}"}).status_code == 200
        assert client.get("/metrics").status_code == 401
    start, rejected, end = read_json_lines(audit)
    assert (rejected["route"], rejected["status"]) == ("/metrics", 401)
    assert (start["event"], end["event"]) == ("start", "end")


@pytest.mark.parametrize(
    ("proxies", "client"), [("", "127.0.0.1"), ("10.0.0.0/8", "127.0.0.1"), ("127.0.0.1", "203.0.113.9")]
)
def test_a_forwarded_client_address_is_used_only_from_a_trusted_proxy(proxies, client, weights, tmp_path):
    settings = Settings(
        weights=weights, spool=tmp_path / "spool", audit_log=tmp_path / "audit", trusted_proxies=proxies
    )
    with serve_in_thread(create_app(settings)) as address:
        httpx2.get(f"{address}/models", headers={"X-Forwarded-For": "203.0.113.9"})
    assert [line["client"] for line in read_json_lines(tmp_path / "audit") if line.get("route") == "/models"] == [
        client
    ]
