"""API keys, scopes, rate limits and cross-origin requests, through HTTP."""

import json

import pytest
from support.api import ACCEPT_MASK, ASYNC, post_case, read_problem, submit_case, wait_for_job
from support.running_service import ready_client

from service.errors import RateLimitError
from service.security.keys import KeyFile, Scope
from service.security.rate_limit import TokenBucket
from service.settings import Settings


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """A keys file."""
    return KeyFile(tmp_path_factory.mktemp("keys") / "keys")


@pytest.fixture(scope="module")
def secured_client(weights, keys, tmp_path_factory):
    """A client of a service that requires keys."""
    keys.add("first", [Scope.SEGMENT])
    folder = tmp_path_factory.mktemp("spool")
    with ready_client(Settings(weights=weights, device="cpu", spool=folder, keys_file=keys.path)) as client:
        yield client


@pytest.fixture(scope="module")
def bearer(keys):
    """A function that adds a key with scopes and returns its header."""

    def make(name: str, *scopes: Scope) -> dict[str, str]:
        return {"Authorization": f"Bearer {keys.add(name, scopes)}"}

    return make


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/segment"),
        ("GET", "/models"),
        ("GET", "/metrics"),
        ("GET", "/jobs/x"),
        ("GET", "/jobs/x/result"),
        ("GET", "/jobs/x/events"),
        ("DELETE", "/jobs/x"),
    ],
)
@pytest.mark.parametrize("header", [None, "Bearer", "Bearer glio_00000000_" + "x" * 43, "Basic eDp5", "Bearer \xe4"])
def test_protected_routes_require_a_valid_key(secured_client, method, path, header):
    response = secured_client.request(
        method, path, headers={"Authorization": header.encode("latin-1")} if header else {}
    )
    read_problem(response, 401, "unauthenticated")
    assert response.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/docs", "/openapi.json"])
def test_probes_and_documentation_need_no_key(secured_client, path):
    assert secured_client.get(path).status_code == 200


def test_a_key_is_limited_to_its_scopes(secured_client, bearer, phantom_zip):
    sender, reader = bearer("sender", Scope.SEGMENT), bearer("reader", Scope.READ)
    assert post_case(secured_client, phantom_zip, **sender).status_code == 200
    assert [secured_client.get(path, headers=reader).status_code for path in ("/models", "/metrics")] == [200, 200]
    assert "scope segment, found read" in read_problem(
        post_case(secured_client, phantom_zip, **reader), 403, "forbidden"
    )
    assert "scope read, found segment" in read_problem(secured_client.get("/metrics", headers=sender), 403, "forbidden")


def test_a_job_is_visible_to_its_own_key_only(secured_client, bearer, phantom_zip):
    own, other = bearer("own", Scope.SEGMENT), bearer("other", Scope.SEGMENT)
    secured_client.headers.update(own)
    job = submit_case(secured_client, phantom_zip)
    wait_for_job(secured_client, job)
    secured_client.headers.pop("Authorization")
    for method, path in (("GET", job), ("GET", f"{job}/result"), ("GET", f"{job}/events"), ("DELETE", job)):
        read_problem(secured_client.request(method, path, headers=other), 404, "job-not-found")
    assert secured_client.get(f"{job}/result", headers=own | ACCEPT_MASK).status_code == 200
    assert secured_client.delete(job, headers=own).status_code == 204


def test_an_administrator_can_see_and_delete_every_job(secured_client, bearer, phantom_zip):
    own, admin = bearer("owner", Scope.SEGMENT), bearer("admin", Scope.ADMIN)
    job = post_case(secured_client, phantom_zip, **own, **ASYNC).headers["Location"]
    assert secured_client.get(job, headers=admin).status_code == 200
    assert secured_client.delete(job, headers=admin).status_code == 204
    read_problem(secured_client.get(job, headers=own), 404, "job-not-found")


def test_idempotency_keys_are_scoped_to_the_api_key(secured_client, bearer, phantom_zip):
    first, second = bearer("one", Scope.SEGMENT), bearer("two", Scope.SEGMENT)
    study = {"Idempotency-Key": "study-17"} | ASYNC
    jobs = [
        post_case(secured_client, phantom_zip, **key, **study).headers["Location"] for key in (first, second, first)
    ]
    assert jobs[0] == jobs[2] != jobs[1]


def test_a_revoked_key_is_rejected_at_once(secured_client, keys, bearer):
    header = bearer("leaving", Scope.READ)
    assert secured_client.get("/models", headers=header).status_code == 200
    keys.revoke("leaving")
    read_problem(secured_client.get("/models", headers=header), 401, "unauthenticated")


def test_a_rejected_key_is_recorded_in_the_audit_log(secured_client, bearer):
    header = bearer("curious", Scope.READ)
    key_id = header["Authorization"].split("_")[1]
    assert secured_client.get("/jobs/x", headers=header).status_code == 403
    lines = (secured_client.app.state.runtime.queue.spool.folder / "audit.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["key"] == key_id


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://other.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Host": "rebound.example:8000"},
        {"Host": ""},
        {"Host": "[::"},
        {"Host": "127.0.0.1.rebound.example"},
    ],
    ids=[
        "other origin",
        "null origin",
        "invalid origin",
        "rebound host name",
        "empty host name",
        "invalid address",
        "address within a host name",
    ],
)
def test_cross_origin_requests_are_rejected_if_no_keys_are_required(client, phantom_zip, headers):
    read_problem(post_case(client, phantom_zip, **headers), 403, "forbidden")
    read_problem(client.get("/models", headers=headers), 403, "forbidden")


def test_same_origin_requests_are_allowed(client):
    for host in ("127.0.0.1:8000", "localhost:8000", "[::1]:8000"):
        headers = {"Host": host, "Origin": f"http://{host}"}
        assert client.get("/models", headers=headers).status_code == 200


def test_each_key_has_its_own_rate_limit(weights, keys, tmp_path, bearer):
    busy, idle = bearer("busy", Scope.READ), bearer("idle", Scope.READ)
    settings = Settings(weights=weights, device="cpu", spool=tmp_path, keys_file=keys.path, requests_per_minute=3)
    with ready_client(settings) as client:
        responses = [client.get("/models", headers=busy) for _ in range(4)]
        assert [response.status_code for response in responses[:3]] == [200] * 3
        read_problem(responses[3], 429, "rate-limited")
        assert 0 < int(responses[3].headers["Retry-After"]) <= 20
        assert client.get("/models", headers=idle).status_code == 200


def test_a_token_bucket_refills_over_time(monkeypatch):
    now = 0.0
    monkeypatch.setattr("service.security.rate_limit.monotonic", lambda: now)
    bucket = TokenBucket(per_minute=60)
    for _ in range(60):
        bucket.take()
    with pytest.raises(RateLimitError):
        bucket.take()
    now = 1.0
    bucket.take()
