"""JSON Schemas of declared types, and what people are told of a field by its schema."""

from __future__ import annotations

from functools import cache
from typing import Any, Iterable, Mapping

import msgspec

Schema = dict[str, Any]

_REFS = "#/components/schemas/{name}"


def components(types: Iterable[Any]) -> tuple[list[Schema], dict[str, Schema]]:
    """Give the schemas of ``types`` and those that they refer to by name."""
    own, named = msgspec.json.schema_components(list(types), ref_template=_REFS)
    return list(own), dict(named)


@cache
def _known(kind: Any) -> tuple[Schema, dict[str, Schema]]:
    own, named = components([kind])
    return own[0], named


def properties(kind: Any) -> Mapping[str, Schema]:
    """Give name and schema of every field of a Struct."""
    own, named = _known(kind)
    found: Mapping[str, Schema] = _resolve(own, named).get("properties", {})
    return found


def required(kind: Any) -> frozenset[str]:
    """Give the names of the fields of a Struct that must be given."""
    own, named = _known(kind)
    return frozenset(_resolve(own, named).get("required", ()))


def at(kind: Any, path: list[str]) -> Schema:
    """Give the schema at a path of field names and, for items, ``[]``; ``{}`` if there is none."""
    own, named = _known(kind)
    schema = _resolve(own, named)
    for step in path:
        schema = plain(schema)
        inner = schema.get("items") if step == "[]" else schema.get("properties", {}).get(step)
        if inner is None:
            inner = schema.get("additionalProperties")
        if not isinstance(inner, dict):
            return {}
        schema = _resolve(inner, named)
    return schema


def plain(schema: Schema) -> Schema:
    """Give the one alternative of ``schema`` that is not null, if it has such."""
    others = [one for one in schema.get("anyOf", ()) if one.get("type") != "null"]
    if len(others) != 1:
        return schema
    rest = {name: value for name, value in schema.items() if name not in ("anyOf", "default")}
    if schema.get("default") is not None:
        rest["default"] = schema["default"]
    return {**others[0], **rest}


def _resolve(schema: Schema, named: Mapping[str, Schema]) -> Schema:
    while "$ref" in schema:
        schema = named[schema["$ref"].rsplit("/", 1)[-1]]
    return schema


def wanted(schema: Schema) -> str:
    """Say in words what a field must be."""
    nullable = any(one.get("type") == "null" for one in schema.get("anyOf", ()))
    schema = plain(schema)
    return _words(schema) + (", or null" if nullable else "")


def _words(schema: Schema) -> str:
    if "enum" in schema:
        return f"one of {', '.join(map(str, schema['enum']))}"
    if "anyOf" in schema:
        return " or ".join(_words(one) for one in schema["anyOf"] if one.get("type") != "null")
    kind = schema.get("type")
    if kind == "string":
        if schema.get("format") == "date-time":
            return "a moment such as 2026-12-31T12:00:00Z"
        if schema.get("examples"):
            return f"a text such as {' or '.join(schema['examples'])}"
        least, most = schema.get("minLength", 0), schema.get("maxLength")
        size = f" of {least} to {most} characters" if most is not None else ""
        return f"a text{' of one line' if schema.get('pattern') else ''}{size}"
    if kind == "integer":
        least, most = schema.get("minimum"), schema.get("maximum")
        if least is not None and most is not None and most < 2**53 - 1:
            return f"an integer from {least} to {most}"
        return f"an integer from {least} up" if least is not None else "an integer"
    if kind == "array":
        most = schema.get("maxItems")
        return f"a list{f' of at most {most}' if most is not None else ''}, each {_words(schema['items'])}"
    return {"boolean": "true or false", "number": "a number"}.get(str(kind), "an object of the known fields")
