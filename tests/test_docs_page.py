"""The documentation page of the API."""

import re

import pytest
from fastapi.testclient import TestClient
from support.running_service import LOOPBACK

from service.app import create_app
from service.settings import Settings
from service.web.docs_page import PAGE


@pytest.fixture
def client():
    return TestClient(create_app(Settings()), LOOPBACK)


def test_the_page_loads_everything_from_the_service(client):
    page = client.get("/docs")
    parts = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(parts) == 4
    assert all(client.get(part).status_code == 200 for part in parts)
    assert "://" not in PAGE
    assert client.get("/docs/start.js").headers["content-type"].startswith("text/javascript")


@pytest.mark.parametrize(
    "path", ["/docs/%2e%2e/app.py", "/docs/%2e%2e%2fapp.py", "/docs/redoc.standalone.js", "/docs/"]
)
def test_other_files_below_docs_are_404(client, path):
    assert client.get(path, follow_redirects=False).status_code == 404


def test_metrics_and_documentation_can_be_disabled():
    client = TestClient(create_app(Settings(metrics=False, docs=False)), LOOPBACK)
    for path in ("/metrics", "/docs", "/docs/start.js", "/openapi.json"):
        assert client.get(path).status_code == 404
    assert client.get("/livez").status_code == 200
