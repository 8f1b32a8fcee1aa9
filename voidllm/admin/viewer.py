"""``/api/v1/docs``: Swagger UI for this gateway's own document, from files that a package brings.

Nothing of that package is imported, nothing is fetched from elsewhere, and the page may run
nothing but those files.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any

from voidllm.admin.context import AdminContext
from voidllm.admin.replies import nothing_here

PATH = "/api/v1/docs"

_PAGE = b"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>VoidLLM API</title>
<link rel="stylesheet" href="/api/v1/docs/swagger-ui.css">
</head>
<body>
<div id="viewer"></div>
<script src="/api/v1/docs/swagger-ui-bundle.js"></script>
<script src="/api/v1/docs/start.js"></script>
</body>
</html>
"""

# A validator would be asked elsewhere, and a key belongs in no browser's storage.
_START = b"""SwaggerUIBundle({
  url: "/api/v1/openapi.json",
  dom_id: "#viewer",
  deepLinking: true,
  persistAuthorization: false,
  queryConfigEnabled: false,
  validatorUrl: null
});
"""

_HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)

_FILES = {
    "swagger-ui.css": b"text/css; charset=utf-8",
    "swagger-ui-bundle.js": b"text/javascript; charset=utf-8",
}


def folder() -> str | None:
    """Find the files, without importing what they come with."""
    spec = find_spec("flask_swagger_ui")
    if spec is None or not spec.submodule_search_locations:
        return None
    return os.path.join(spec.submodule_search_locations[0], "dist")


def add_viewer(app: Any, context: AdminContext) -> None:
    """Add the page and its files to a Klein application."""
    files = folder()

    @app.route(PATH, methods=["GET"])  # type: ignore[untyped-decorator]
    def show_page(request: Any) -> bytes:
        if files is None:
            raise nothing_here()
        return _send(request, b"text/html; charset=utf-8", _PAGE)

    @app.route(PATH + "/start.js", methods=["GET"])  # type: ignore[untyped-decorator]
    def start(request: Any) -> bytes:
        return _send(request, b"text/javascript; charset=utf-8", _START)

    @app.route(PATH + "/<name>", methods=["GET"])  # type: ignore[untyped-decorator]
    async def show_file(request: Any, name: str) -> bytes:
        if files is None or name not in _FILES:
            raise nothing_here()
        content = await context.world.in_thread(_read, os.path.join(files, name))
        return _send(request, _FILES[name], content)


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _send(request: Any, kind: bytes, content: bytes) -> bytes:
    for name, value in _HEADERS:
        request.setHeader(name, value)
    request.setHeader(b"content-type", kind)
    request.setHeader(b"content-length", b"%d" % len(content))
    request.setHeader(b"cache-control", b"private, max-age=3600")
    return content
