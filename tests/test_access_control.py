"""Who may come in, through HTTP."""

from support.api import ASYNC, ACCEPT_MASK, post_case, submit_case, wait_for_job, read_problem
from support.running_service import ready_client
import json

import pytest

from service.door import Allowance
from service.errors import RateLimitError
from service.keys import KeyFile, Scope
from service.settings import Settings


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """A file of keys."""
    return KeyFile(tmp_path_factory.mktemp("keys") / "keys")


@pytest.fixture(scope="module")
def guarded(weights, keys, tmp_path_factory):
    """A service that asks for keys."""
    keys.add("first", [Scope.SEGMENT])
    folder = tmp_path_factory.mktemp("spool")
    with ready_client(Settings(weights=weights, device="cpu", spool=folder, keys=keys.path)) as client:
        yield client


@pytest.fixture(scope="module")
def bearer(keys):
    """The headers of a key with scopes, made for one test."""

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
def test_protected_routes_require_a_valid_key(guarded, method, path, header):
    response = guarded.request(method, path, headers={"Authorization": header.encode("latin-1")} if header else {})
    read_problem(response, 401, "unauthenticated")
    assert response.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/docs", "/openapi.json"])
def test_probes_and_documentation_need_no_key(guarded, path):
    assert guarded.get(path).status_code == 200


def test_a_key_is_limited_to_its_scopes(guarded, bearer, phantom_zip):
    sender, reader = bearer("sender", Scope.SEGMENT), bearer("reader", Scope.READ)
    assert post_case(guarded, phantom_zip, **sender).status_code == 200
    assert [guarded.get(path, headers=reader).status_code for path in ("/models", "/metrics")] == [200, 200]
    assert "scope segment, found read" in read_problem(post_case(guarded, phantom_zip, **reader), 403, "forbidden")
    assert "scope read, found segment" in read_problem(guarded.get("/metrics", headers=sender), 403, "forbidden")


def test_a_job_is_visible_to_its_own_key_only(guarded, bearer, phantom_zip):
    own, other = bearer("own", Scope.SEGMENT), bearer("other", Scope.SEGMENT)
    guarded.headers.update(own)
    job = submit_case(guarded, phantom_zip)
    wait_for_job(guarded, job)
    guarded.headers.pop("Authorization")
    for method, path in (("GET", job), ("GET", f"{job}/result"), ("GET", f"{job}/events"), ("DELETE", job)):
        read_problem(guarded.request(method, path, headers=other), 404, "job-not-found")
    assert guarded.get(f"{job}/result", headers=own | ACCEPT_MASK).status_code == 200
    assert guarded.delete(job, headers=own).status_code == 204


def test_an_administrator_can_see_and_delete_every_job(guarded, bearer, phantom_zip):
    own, admin = bearer("owner", Scope.SEGMENT), bearer("admin", Scope.ADMIN)
    job = post_case(guarded, phantom_zip, **own, **ASYNC).headers["Location"]
    assert guarded.get(job, headers=admin).status_code == 200
    assert guarded.delete(job, headers=admin).status_code == 204
    read_problem(guarded.get(job, headers=own), 404, "job-not-found")


def test_idempotency_keys_are_scoped_to_the_api_key(guarded, bearer, phantom_zip):
    first, second = bearer("one", Scope.SEGMENT), bearer("two", Scope.SEGMENT)
    study = {"Idempotency-Key": "study-17"} | ASYNC
    jobs = [post_case(guarded, phantom_zip, **key, **study).headers["Location"] for key in (first, second, first)]
    assert jobs[0] == jobs[2] != jobs[1]


def test_a_revoked_key_is_rejected_at_once(guarded, keys, bearer):
    header = bearer("leaving", Scope.READ)
    assert guarded.get("/models", headers=header).status_code == 200
    keys.revoke("leaving")
    read_problem(guarded.get("/models", headers=header), 401, "unauthenticated")


def test_a_rejected_key_is_recorded_in_the_audit_log(guarded, bearer):
    header = bearer("curious", Scope.READ)
    key_id = header["Authorization"].split("_")[1]
    assert guarded.get("/jobs/x", headers=header).status_code == 403
    lines = (guarded.app.state.lifetime.queue.spool.folder / "audit.jsonl").read_text().splitlines()
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
    ids=["page", "file", "no origin", "rebound name", "no name", "half an address", "an address in a name"],
)
def test_cross_origin_requests_are_rejected_if_no_keys_are_required(client, phantom_zip, headers):
    read_problem(post_case(client, phantom_zip, **headers), 403, "forbidden")
    read_problem(client.get("/models", headers=headers), 403, "forbidden")


def test_same_origin_requests_are_allowed(client):
    for host in ("127.0.0.1:8000", "localhost:8000", "[::1]:8000"):
        headers = {"Host": host, "Origin": f"http://{host}"}
        assert client.get("/models", headers=headers).status_code == 200


def test_each_key_has_its_own_rate_limit(weights, keys, tmp_path, bearer):
    eager, calm = bearer("eager", Scope.READ), bearer("calm", Scope.READ)
    settings = Settings(weights=weights, device="cpu", spool=tmp_path, keys=keys.path, requests_per_minute=3)
    with ready_client(settings) as client:
        answers = [client.get("/models", headers=eager) for _ in range(4)]
        assert [answer.status_code for answer in answers[:3]] == [200] * 3
        read_problem(answers[3], 429, "rate-limited")
        assert 0 < int(answers[3].headers["Retry-After"]) <= 20
        assert client.get("/models", headers=calm).status_code == 200


def test_a_token_bucket_refills_over_time(monkeypatch):
    now = 0.0
    monkeypatch.setattr("service.door.monotonic", lambda: now)
    allowance = Allowance(per_minute=60)
    for _ in range(60):
        allowance.take()
    with pytest.raises(RateLimitError):
        allowance.take()
    now = 1.0
    allowance.take()
