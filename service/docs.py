"""The page that shows the interface in a browser, from files of this machine: no other host is asked."""

from http import HTTPStatus
from importlib.resources import files
from typing import Any

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, HTMLResponse, Response

router = APIRouter(include_in_schema=False)

SCRIPT, STYLE, ICON = "swagger-ui-bundle.js", "swagger-ui.css", "favicon.png"
ASSETS = files("fastapi_offline") / "static"  # of this package the files alone, which are those of Swagger UI
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


def without_keys(document: dict[str, Any]) -> dict[str, Any]:
    """An OpenAPI document of a service where nobody needs a key, made of that of one where everybody does."""
    components = {name: part for name, part in document["components"].items() if name != "securitySchemes"}
    paths = {
        path: {method: {**operation, "security": []} for method, operation in operations.items()}
        for path, operations in document["paths"].items()
    }
    return {**document, "components": components, "paths": paths}


@router.get("/docs")
async def page() -> HTMLResponse:
    """The page."""
    return HTMLResponse(PAGE)


@router.get("/docs/start.js")
async def start() -> Response:
    """What starts it: a file, so that no page may run a script that is written into it."""
    return Response(START, media_type="text/javascript")


@router.get("/docs/{name}")
async def asset(name: str) -> FileResponse:
    """A file of Swagger UI that the page asks for."""
    if name not in (SCRIPT, STYLE, ICON):
        raise HTTPException(HTTPStatus.NOT_FOUND)
    return FileResponse(str(ASSETS / name))
