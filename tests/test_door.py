"""Who may come in, through HTTP."""

import json

import pytest
from serving import ready_client
from test_jobs import ASYNC, MASK, accept, finish, post
from test_segment import problem_of

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
def test_nothing_that_matters_is_answered_without_a_key(guarded, method, path, header):
    response = guarded.request(method, path, headers={"Authorization": header.encode("latin-1")} if header else {})
    problem_of(response, 401, "unauthenticated")
    assert response.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/docs", "/openapi.json"])
def test_probes_and_documents_need_no_key(guarded, path):
    assert guarded.get(path).status_code == 200


def test_a_key_opens_what_its_scopes_name_and_nothing_else(guarded, bearer, phantom_zip):
    sender, reader = bearer("sender", Scope.SEGMENT), bearer("reader", Scope.READ)
    assert post(guarded, phantom_zip, **sender).status_code == 200
    assert [guarded.get(path, headers=reader).status_code for path in ("/models", "/metrics")] == [200, 200]
    assert "scope segment, found read" in problem_of(post(guarded, phantom_zip, **reader), 403, "forbidden")
    assert "scope read, found segment" in problem_of(guarded.get("/metrics", headers=sender), 403, "forbidden")


def test_a_job_is_there_for_its_own_key_alone(guarded, bearer, phantom_zip):
    own, other = bearer("own", Scope.SEGMENT), bearer("other", Scope.SEGMENT)
    guarded.headers.update(own)
    job = accept(guarded, phantom_zip)
    finish(guarded, job)
    guarded.headers.pop("Authorization")
    for method, path in (("GET", job), ("GET", f"{job}/result"), ("GET", f"{job}/events"), ("DELETE", job)):
        problem_of(guarded.request(method, path, headers=other), 404, "job-not-found")
    assert guarded.get(f"{job}/result", headers=own | MASK).status_code == 200
    assert guarded.delete(job, headers=own).status_code == 204


def test_an_administrator_may_see_and_remove_the_jobs_of_all(guarded, bearer, phantom_zip):
    own, admin = bearer("owner", Scope.SEGMENT), bearer("admin", Scope.ADMIN)
    job = post(guarded, phantom_zip, **own, **ASYNC).headers["Location"]
    assert guarded.get(job, headers=admin).status_code == 200
    assert guarded.delete(job, headers=admin).status_code == 204
    problem_of(guarded.get(job, headers=own), 404, "job-not-found")


def test_two_keys_may_choose_one_idempotency_key(guarded, bearer, phantom_zip):
    first, second = bearer("one", Scope.SEGMENT), bearer("two", Scope.SEGMENT)
    study = {"Idempotency-Key": "study-17"} | ASYNC
    jobs = [post(guarded, phantom_zip, **key, **study).headers["Location"] for key in (first, second, first)]
    assert jobs[0] == jobs[2] != jobs[1]


def test_a_revoked_key_is_out_at_once(guarded, keys, bearer):
    header = bearer("leaving", Scope.READ)
    assert guarded.get("/models", headers=header).status_code == 200
    keys.revoke("leaving")
    problem_of(guarded.get("/models", headers=header), 401, "unauthenticated")


def test_who_is_turned_away_stands_in_the_audit(guarded, bearer):
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
def test_pages_of_other_origins_reach_nothing_where_nobody_needs_a_key(client, phantom_zip, headers):
    problem_of(post(client, phantom_zip, **headers), 403, "forbidden")
    problem_of(client.get("/models", headers=headers), 403, "forbidden")


def test_the_page_of_the_service_itself_may_call(client):
    for host in ("127.0.0.1:8000", "localhost:8000", "[::1]:8000"):
        headers = {"Host": host, "Origin": f"http://{host}"}
        assert client.get("/models", headers=headers).status_code == 200


def test_each_key_has_a_rate_of_its_own(weights, keys, tmp_path, bearer):
    eager, calm = bearer("eager", Scope.READ), bearer("calm", Scope.READ)
    settings = Settings(weights=weights, device="cpu", spool=tmp_path, keys=keys.path, requests_per_minute=3)
    with ready_client(settings) as client:
        answers = [client.get("/models", headers=eager) for _ in range(4)]
        assert [answer.status_code for answer in answers[:3]] == [200] * 3
        problem_of(answers[3], 429, "rate-limited")
        assert 0 < int(answers[3].headers["Retry-After"]) <= 20
        assert client.get("/models", headers=calm).status_code == 200


def test_an_allowance_fills_up_again(monkeypatch):
    now = 0.0
    monkeypatch.setattr("service.door.monotonic", lambda: now)
    allowance = Allowance(per_minute=60)
    for _ in range(60):
        allowance.take()
    with pytest.raises(RateLimitError):
        allowance.take()
    now = 1.0
    allowance.take()
