"""Makes a small value that fits a JSON Schema; for the demo model's tools and formats."""

from __future__ import annotations

from typing import Any, Mapping

_MAX_DEPTH = 12


def example(schema: object, root: Mapping[str, Any] | None = None, depth: int = 0) -> Any:
    """Give a value that fits ``schema``, for the keywords that tool definitions use.

    :param root: the schema that local ``$ref`` values point into.
    """
    if not isinstance(schema, dict) or depth > _MAX_DEPTH:
        return None
    root = schema if root is None else root
    if isinstance(ref := schema.get("$ref"), str):
        return example(_resolve(root, ref), root, depth + 1)
    if "const" in schema:
        return schema["const"]
    if isinstance(enum := schema.get("enum"), list) and enum:
        return enum[0]
    for keyword in ("anyOf", "oneOf", "allOf"):
        if isinstance(options := schema.get(keyword), list) and options:
            return example(options[0], root, depth + 1)
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((k for k in kind if k != "null"), "null")
    if kind == "object" or (kind is None and "properties" in schema):
        properties = schema.get("properties")
        if not isinstance(properties, dict):
            return {}
        return {name: example(inner, root, depth + 1) for name, inner in list(properties.items())[:64]}
    if kind == "array":
        count = max(1, min(_whole(schema.get("minItems"), 1), 8))
        return [example(schema.get("items"), root, depth + 1)] * count
    if kind == "integer":
        return _whole(schema.get("minimum"), 1)
    if kind == "number":
        return float(_whole(schema.get("minimum"), 1))
    if kind == "boolean":
        return True
    return None if kind == "null" else "demo"


def _whole(value: object, default: int) -> int:
    return int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else default


def _resolve(root: Mapping[str, Any], ref: str) -> Any:
    found: Any = root
    for part in ref.removeprefix("#").strip("/").split("/"):
        if part:
            found = found.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
    return found
