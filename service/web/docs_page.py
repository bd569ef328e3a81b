"""The interactive API documentation, served from local files: the browser contacts no other host."""

from http import HTTPStatus
from importlib.resources import files

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, HTMLResponse, Response

router = APIRouter(include_in_schema=False)

SCRIPT, STYLE, ICON = "swagger-ui-bundle.js", "swagger-ui.css", "favicon.png"
ASSETS = files("fastapi_offline") / "static"  # Swagger UI's files; the package's code is not used
PAGE = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>GlioServe</title>
<link rel="icon" href="docs/{ICON}">
<link rel="stylesheet" href="docs/{STYLE}">
</head>
<body>
<div id="interface"></div>
<script src="docs/{SCRIPT}"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
START = 'SwaggerUIBundle({url: "openapi.json", dom_id: "#interface", validatorUrl: null});\n'


@router.get("/docs")
async def page() -> HTMLResponse:
    """The page."""
    return HTMLResponse(PAGE)


@router.get("/docs/start.js")
async def start() -> Response:
    """The script that starts Swagger UI; a file of its own, as the content security policy forbids inline scripts."""
    return Response(START, media_type="text/javascript")


@router.get("/docs/{name}")
async def asset(name: str) -> FileResponse:
    """A file of Swagger UI."""
    if name not in (SCRIPT, STYLE, ICON):
        raise HTTPException(HTTPStatus.NOT_FOUND)
    return FileResponse(str(ASSETS / name))
