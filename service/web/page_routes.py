"""The page at /: it sends cases, follows their jobs and shows the results, all from this service's own address."""

from functools import cache
from importlib.resources import files
from pathlib import Path
from threading import Lock
from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Header
from pydantic import BaseModel
from starlette.responses import FileResponse, HTMLResponse, Response

from service.imaging.phantom import BRAIN_GRID, encode_phantom, make_phantom, zip_files
from service.runtime import Runtime
from service.web.dependencies import SegmentCaller, get_runtime
from service.web.negotiation import ZIP

router = APIRouter(include_in_schema=False)

FOLDER = Path(str(files("service") / "viewer" / "dist"))  # built by service/viewer/build.sh; not in the repository
# In addition to the header of every response: unlike /docs, this page has no inline style. NiiVue's font is a data URL.
POLICY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}
NOT_BUILT = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>GlioServe</title>
</head>
<body>
<main>
<h1>GlioServe</h1>
<p>The service is running, but its page has not been built. Build it with <code>make viewer</code>, which needs npm or
PyPI, and install the service again unless it runs from its source. <code>GLIOSERVE_PAGE=false</code> switches the page
off.</p>
<p>The <a href="docs">API</a> works without it.</p>
<p>Not a medical device; research use only.</p>
</main>
</body>
</html>
"""
_phantom_lock = Lock()


class PageSettings(BaseModel):
    """What the page has to know before it sends a case."""

    key_required: bool
    max_upload_mib: int


@router.get("/")
async def page() -> Response:
    """The page, or how to build it."""
    path = FOLDER / "index.html"
    return FileResponse(path, headers=POLICY) if path.is_file() else HTMLResponse(NOT_BUILT, headers=POLICY)


@router.get("/page/settings.json")
async def page_settings(runtime: Annotated[Runtime, Depends(get_runtime)]) -> PageSettings:
    """What the page has to know before it sends a case."""
    settings = runtime.settings
    return PageSettings(key_required=settings.keys_file is not None, max_upload_mib=settings.max_upload_mib)


@router.get("/page/phantom.zip")
async def phantom(_: SegmentCaller) -> Response:
    """The synthetic case; it needs a key, because it takes a second of computing."""
    return Response(await run_sync(_phantom_zip), media_type=ZIP)


@router.get("/page/page.js")
async def script(accept_encoding: Annotated[str, Header()] = "") -> Response:
    """The script, compressed if the browser allows it: it is the only large file."""
    headers = {"Vary": "Accept-Encoding"}
    if "gzip" in accept_encoding:
        return _asset("page.js.gz", "text/javascript", headers | {"Content-Encoding": "gzip"})
    return _asset("page.js", "text/javascript", headers)


@router.get("/page/page.css")
async def style() -> Response:
    """The style sheet."""
    return _asset("page.css", "text/css", {})


@router.get("/page/licences.txt")
async def licences() -> Response:
    """The licences of the third-party code in the script."""
    return _asset("licences.txt", "text/plain", {})


def _asset(name: str, media_type: str, headers: dict[str, str]) -> Response:
    path = FOLDER / name
    if not path.is_file():
        return Response(status_code=404)
    return FileResponse(path, media_type=media_type, headers=headers)


def _phantom_zip() -> bytes:
    """The synthetic case as a zip; requests that arrive while it is made wait for it instead of making another."""
    with _phantom_lock:
        return _make_phantom_zip()


@cache
def _make_phantom_zip() -> bytes:
    return zip_files(encode_phantom(make_phantom(BRAIN_GRID)))
