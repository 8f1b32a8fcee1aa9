"""Makes a small value that fits a JSON Schema; for the demo model's tools and formats."""

from __future__ import annotations

from typing import Any, Mapping

import ujson

_MAX_DEPTH = 12
#: A schema that refers to itself twice in each object would ask for 2 to the power of its depth.
_MOST_VALUES = 2000


def example(schema: object) -> Any:
    """Give a value that fits ``schema``, for the keywords that tool definitions use.

    What a schema asks for beyond 2,000 values or 12 levels is ``None``.
    """
    return _Examples(schema if isinstance(schema, dict) else {}).value(schema, 0)


class _Examples:
    """Makes the values of one schema.

    :param root: the schema that local ``$ref`` values point into.
    """

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._left = _MOST_VALUES

    def value(self, schema: object, depth: int) -> Any:
        """Give a value for one place."""
        self._left -= 1
        if not isinstance(schema, dict) or depth > _MAX_DEPTH or self._left < 0:
            return None
        if isinstance(ref := schema.get("$ref"), str):
            return self.value(_resolve(self._root, ref), depth + 1)
        if "const" in schema:
            return self._given(schema["const"])
        if isinstance(enum := schema.get("enum"), list) and enum:
            return self._given(enum[0])
        for keyword in ("anyOf", "oneOf", "allOf"):
            if isinstance(options := schema.get(keyword), list) and options:
                return self.value(options[0], depth + 1)
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = next((k for k in kind if k != "null"), "null")
        if kind == "object" or (kind is None and "properties" in schema):
            properties = schema.get("properties")
            if not isinstance(properties, dict):
                return {}
            return {
                name: self.value(inner, depth + 1)
                for name, inner in list(properties.items())[:64]
                if self._given(name) is not None
            }
        if kind == "array":
            count = max(1, min(_whole(schema.get("minItems"), 1), 8))
            return [self.value(schema.get("items"), depth + 1) for _ in range(count)]
        if kind == "integer":
            return _whole(schema.get("minimum"), 1)
        if kind == "number":
            return float(_whole(schema.get("minimum"), 1))
        if kind == "boolean":
            return True
        return None if kind == "null" else "demo"

    def _given(self, value: Any) -> Any:
        """Give what the schema holds word for word; long texts would be repeated as often as values."""
        self._left -= len(ujson.dumps(value)) // 16
        return value if self._left >= 0 else None


def _whole(value: object, default: int) -> int:
    return int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else default


def _resolve(root: Mapping[str, Any], ref: str) -> Any:
    found: Any = root
    for part in ref.removeprefix("#").strip("/").split("/"):
        if part:
            found = found.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
    return found
