"""Replies are what the OpenAPI document says, whoever asked for them and whatever went wrong."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from jsonschema_rs import Draft202012Validator

from voidllm.admin.declare import PROBLEMS, Route, codes_of
from voidllm.admin.openapi import document
from voidllm.admin.routes import OPERATORS, ROUTES

#: (operation, status, code) of every reply that was checked.
SEEN: set[tuple[str, int, str]] = set()


def route_of(method: str, path: str, routes: tuple[Route, ...]) -> Route | None:
    """Find the route that a request is for."""
    plain = path.partition("?")[0]
    if any(route.path == plain for route in routes):
        # A path in so many words is nobody else's.
        return next((one for one in routes if (one.method, one.path) == (method, plain)), None)
    for route in routes:
        pattern = re.sub(r"\\{\w+\\}", "[^/]+", re.escape(route.path))
        if route.method == method and re.fullmatch(pattern, plain):
            return route
    return None


@cache
def _validator(name: str, status: str) -> Any:
    whole = document((*ROUTES, *OPERATORS))
    (found,) = (
        one for path in whole["paths"].values() for one in path.values() if one["operationId"] == name
    )
    schema = found["responses"][status]["content"]["application/json"]["schema"]
    return Draft202012Validator({**schema, "components": whole["components"]}, validate_formats=True)


def check(
    method: str,
    path: str,
    status: int,
    headers: dict[str, str],
    body: Any,
    routes: tuple[Route, ...] = ROUTES,
) -> None:
    """Fail if a reply is none that is declared; requests to no route are let through.

    :raises AssertionError: saying what differs.
    """
    route = route_of(method, path, routes)
    if route is None or status == 500:
        return
    code = body["error"]["code"] if status >= 400 else ""
    SEEN.add((route.name, status, code))
    assert headers["x-request-id"]
    if status == 304:
        assert route.tagged and body == b"" and headers["etag"]
        return
    if status < 400:
        assert status == route.status, f"{route.name} answered {status}"
    else:
        assert code in codes_of(route), f"{route.name} answered {code}, which it does not declare"
        assert PROBLEMS[code][0] == status
        assert (status in (429, 503)) == ("retry-after" in headers)
    if status < 400 and route.media:
        assert headers["content-type"] in route.media
        return
    if status < 400 and route.reply is None:
        assert body == b"" and headers["content-length"] == "0"
        return
    for error in _validator(route.name, str(status)).iter_errors(body):
        raise AssertionError(f"{route.name} {status}: {error}")
    assert (status < 400 and route.tagged) == ("etag" in headers)
