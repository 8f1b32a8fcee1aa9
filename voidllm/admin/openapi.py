"""The OpenAPI 3.1 document, written from the declarations that requests are read by."""

from __future__ import annotations

from functools import cache
from typing import Any, Iterator

from voidllm import __version__
from voidllm.admin.declare import PROBLEMS, TENANTS, Route, codes_of
from voidllm.admin.kinds import Failed, Nothing
from voidllm.admin.once import HEADER, PATTERN
from voidllm.admin.routes import ROUTES
from voidllm.admin.schemas import Schema, components, plain, properties, required

_ABOUT = """\
Administration of a VoidLLM gateway.

Times are RFC 3339 in UTC, money is USD. Every error has the same shape, and its `code` is for programs.
Lists are pages: go on with `next_cursor` while there is one. A PATCH is a JSON merge patch (RFC 7396):
what is absent stays, null takes away. Fields that are not known are refused."""

_REQUEST_ID = {"X-Request-Id": {"schema": {"type": "string"}, "description": "the id of this request"}}
_ETAG = {"ETag": {"schema": {"type": "string"}, "required": True, "description": "for If-Match"}}
_RETRY = {
    "Retry-After": {
        "schema": {"type": "integer", "minimum": 1},
        "required": True,
        "description": "seconds after which another try makes sense",
    }
}


@cache
def document(routes: tuple[Route, ...] = ROUTES) -> dict[str, Any]:
    """Give the document of ``routes`` as plain values."""
    types = [one for route in routes for one in (route.body, route.reply) if one not in (None, Nothing)]
    own, named = components([*types, Failed])
    schemas = dict(zip(types, own[:-1], strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "VoidLLM", "version": __version__, "description": _ABOUT},
        "servers": [{"url": "/"}],
        "tags": [{"name": name} for name in dict.fromkeys(route.resource for route in routes)],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(named.items())),
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "the token of a session, or an API key with the scope asked for",
                }
            },
        },
    }


def _operation(route: Route, schemas: dict[Any, Schema]) -> dict[str, Any]:
    role = "Anybody, without a key." if route.role is None else f"Least role: {route.role}."
    scope = f" Scope: {route.scope}." if route.scope else ""
    words = f"{route.description}\n\n{role}{scope} About: {TENANTS[route.tenant]}."
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "description": words.strip(),
        "tags": [route.resource],
        "security": [] if route.role is None else [{"key": []}],
        "x-role": route.role,
        "x-scope": route.scope,
        "x-tenant": route.tenant,
        "parameters": list(_parameters(route)),
        "responses": _responses(route, schemas),
    }
    if route.body is not Nothing:
        kind = "application/merge-patch+json" if route.method == "PATCH" else "application/json"
        media: dict[str, Any] = {"schema": schemas[route.body]}
        if route.example is not None:
            media["example"] = dict(route.example)
        content = {"application/json": media}
        if route.method == "PATCH":
            content[kind] = media
        operation["requestBody"] = {"required": bool(required(route.body)), "content": content}
    return operation


def _parameters(route: Route) -> Iterator[dict[str, Any]]:
    for part in route.path.split("/"):
        if part.startswith("{"):
            yield {
                "name": part[1:-1],
                "in": "path",
                "required": True,
                "schema": {"type": "string", "minLength": 1, "maxLength": 64},
            }
    for name, schema in properties(route.query).items():
        shown = dict(plain(schema))
        if shown.get("default", 0) is None:
            del shown["default"]
        parameter: dict[str, Any] = {"name": name, "in": "query", "required": False}
        if (words := shown.pop("description", None)) is not None:
            parameter["description"] = words
        if shown.get("type") == "array":
            parameter.update(style="form", explode=False)
        yield {**parameter, "schema": shown}
    if route.once:
        words = "of the caller's choice: the same request sent again with it within 24 h is not done again"
        yield _header(HEADER, words, PATTERN)
    if route.guarded:
        yield _header("If-Match", "do it only if the thing still has this ETag")
    elif route.tagged and route.method == "GET":
        yield _header("If-None-Match", "answer 304 if the thing still has this ETag")


def _header(name: str, words: str, pattern: str | None = None) -> dict[str, Any]:
    schema = {"type": "string"} if pattern is None else {"type": "string", "pattern": pattern}
    return {"name": name, "in": "header", "required": False, "description": words, "schema": schema}


def _responses(route: Route, schemas: dict[Any, Schema]) -> dict[str, Any]:
    done: dict[str, Any] = {"description": "done", "headers": dict(_REQUEST_ID)}
    if route.reply is not None:
        done["content"] = {"application/json": {"schema": schemas[route.reply]}}
    for media in route.media:
        done.setdefault("content", {})[media] = {"schema": {"type": "string"}}
    if route.tagged:
        done["headers"].update(_ETAG)
    if route.once:
        done["headers"]["Idempotency-Replayed"] = {
            "schema": {"const": "true"},
            "description": "this is the answer to an earlier request with the same key",
        }
    responses = {str(route.status): done}
    if route.tagged and route.method == "GET":
        responses["304"] = {"description": "it is what it was", "headers": {**_REQUEST_ID, **_ETAG}}
    statuses: dict[int, list[str]] = {}
    for code in codes_of(route):
        statuses.setdefault(PROBLEMS[code][0], []).append(code)
    for status, codes in sorted(statuses.items()):
        responses[str(status)] = _problem(status, codes)
    return responses


def _problem(status: int, codes: list[str]) -> dict[str, Any]:
    code = {"type": "object", "properties": {"code": {"enum": codes}}}
    return {
        "description": "; ".join(f"`{code}`: {PROBLEMS[code][1]}" for code in codes),
        "headers": {**_REQUEST_ID, **(_RETRY if status in (429, 503) else {})},
        "content": {
            "application/json": {
                "schema": {
                    "allOf": [
                        {"$ref": "#/components/schemas/Failed"},
                        {"type": "object", "properties": {"error": code}},
                    ]
                }
            }
        },
    }
