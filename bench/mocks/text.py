"""Deterministic text, token counts and JSON values for mock answers."""

from __future__ import annotations

import hashlib
from typing import Any

from bench.mocks.faults import Faults

_TEXT = (
    "The quick brown fox jumps over a lazy dog while seven wizards brew strong coffee near "
    "quiet harbours and nobody counts the waves"
)
_WORDS = _TEXT.split()

#: A fixed time, so that two runs give equal bytes.
CREATED = 1_760_000_000
DEFAULT_WORDS = 16


def ident(prefix: str, seed: bytes) -> str:
    """Give an id that depends on the request alone."""
    return prefix + hashlib.sha256(seed).hexdigest()[:24]


def words(count: int) -> list[str]:
    """Give ``count`` words; all but the first begin with a space, as real tokens do."""
    return [(" " if i else "") + _WORDS[i % len(_WORDS)] for i in range(count)]


def tokens(text: str) -> int:
    """Count tokens the way this mock does: four bytes each, rounded up."""
    return -(-len(text.encode()) // 4)


def text_of(content: Any) -> str:
    """Join the text of a message's content, a prompt, or an ``input``."""
    if isinstance(content, str):
        return content
    if isinstance(content, dict):
        return text_of(content.get("text", content.get("content", "")))
    if isinstance(content, list):
        return "\n".join(filter(None, (text_of(part) for part in content)))
    return ""


def pieces(asked: str, model: Any, limit: Any, faults: Faults) -> tuple[list[str], bool]:
    """Give the answer's text in stream pieces, and whether ``limit`` cut it short.

    A model ``mock-echo…`` or a text that begins with ``echo:`` is answered with the caller's own
    text, so that canaries can be followed through a gateway.
    """
    if isinstance(model, str) and model.startswith("mock-echo"):
        parts = _pieces_of(asked)
    elif asked.startswith("echo:"):
        parts = _pieces_of(asked[5:])
    else:
        parts = words(faults.number("words", DEFAULT_WORDS))
    if isinstance(limit, int) and 0 < limit < len(parts):
        return parts[:limit], True
    return parts, False


def _pieces_of(text: str) -> list[str]:
    return [text[i : i + 12] for i in range(0, len(text), 12)] or [""]


def instance(schema: Any, text: str, root: Any = None, depth: int = 0) -> Any:
    """Make a value that a JSON Schema accepts (the subset SDKs generate); strings hold ``text``."""
    root = schema if root is None else root
    if not isinstance(schema, dict) or depth > 16:
        return None
    if "$ref" in schema:
        target = root
        for step in str(schema["$ref"]).lstrip("#/").split("/"):
            target = target.get(step, {}) if isinstance(target, dict) else {}
        return instance(target, text, root, depth + 1)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for choice in ("anyOf", "oneOf", "allOf"):
        if schema.get(choice):
            return instance(schema[choice][0], text, root, depth + 1)
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((k for k in kind if k != "null"), "null")
    if kind == "object" or "properties" in schema:
        return {k: instance(v, text, root, depth + 1) for k, v in schema.get("properties", {}).items()}
    if kind == "array":
        return [instance(schema.get("items", {}), text, root, depth + 1)] * max(1, schema.get("minItems", 1))
    if kind == "integer":
        return int(schema.get("minimum", 7))
    if kind == "number":
        return float(schema.get("minimum", 1.5))
    return {"string": text, "boolean": True, "null": None}.get(str(kind), text)
