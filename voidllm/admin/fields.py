"""Request bodies as plain values: one JSON object, every name once."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from voidllm.core.errors import Refusal

MAX_BODY = 64 * 1024


def bad(message: str, param: str | None = None) -> Refusal:
    """Make a 400."""
    return Refusal(400, "bad_request", message, param=param)


def parse_object(body: bytes) -> dict[str, Any]:
    """Read a JSON object; no body is an empty one.

    :raises Refusal: 413 if it is too large, 400 for anything else that is not one JSON object
        without duplicate names.
    """
    if len(body) > MAX_BODY:
        raise Refusal(413, "request_too_large", f"the request body may have {MAX_BODY} bytes at most")
    if not body.strip():
        return {}
    try:
        value = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_without_duplicates,
            parse_float=_number,
            parse_constant=_no_constant,
        )
        if b"\\u" in body:
            # Half of a surrogate pair is no text.
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError):
        raise bad("the request body is not valid JSON") from None
    if not isinstance(value, dict):
        raise bad("the request body is not a JSON object")
    return value


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise bad("a field is given twice")
    return value


def _number(text: str) -> int | float:
    # For a JSON Schema 1.0 is an integer.
    value = float(text)
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)
