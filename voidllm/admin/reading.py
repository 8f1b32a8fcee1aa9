"""Requests become values of the types that were declared for them, or are refused by field."""

from __future__ import annotations

import re
from typing import Any, Mapping, TypeVar

import msgspec

from voidllm.admin.fields import bad
from voidllm.admin.schemas import Schema, at, plain, properties, wanted
from voidllm.core.errors import Refusal

A = TypeVar("A", bound=msgspec.Struct)

_UNKNOWN = re.compile(r"Object contains unknown field `(.*?)`(?: - at `\$([^`]*)`)?", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `([^`]*)`(?: - at `\$([^`]*)`)?")
_WHERE = re.compile(r" - at `(?:key` in `)?\$([^`]*)`\Z")
_STEP = re.compile(r"\.([A-Za-z_][A-Za-z0-9_]*)|\[([0-9]+)\]")
_WHOLE = re.compile(r"-?[0-9]{1,16}")
_SHOWN = 64


def read(kind: type[A], value: Any, whole: bool = False) -> A:
    """Make a ``kind`` of plain values.

    :param whole: name a list that has a wrong item, not the item.
    :raises Refusal: 400, with the path of the first field that is wrong.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        # Only the place is taken from its text, which may hold values.
        raise _told(kind, str(error), whole) from None


def read_query(kind: type[A], args: Mapping[bytes, list[bytes]]) -> A:
    """Make a ``kind`` of a query string, each argument of which may be there once.

    :param args: names to values, as twisted.web has them.
    :raises Refusal: 400.
    """
    known = properties(kind)
    found: dict[str, Any] = {}
    for raw, values in args.items():
        try:
            name = raw.decode("ascii")
            text = values[0].decode("utf-8")
        except UnicodeDecodeError:
            raise bad("the query is not UTF-8") from None
        if len(values) != 1:
            raise bad("an argument is given twice", param=name if name in known else None)
        found[name] = _typed(plain(known[name]), text) if name in known else text
    return read(kind, found, whole=True)


def _typed(schema: Schema, text: str) -> Any:
    """Turn the text of an argument into what its type is in JSON; a wrong one stays a text."""
    kind = schema.get("type")
    if kind == "integer" and _WHOLE.fullmatch(text):
        return int(text)
    if kind == "boolean":
        return {"true": True, "false": False}.get(text, text)
    if kind == "array":
        # A comma alone is how an empty list is written where an empty argument is none.
        return [] if text in ("", ",") else [one.strip() for one in text.split(",")]
    return text


def _told(kind: Any, message: str, whole: bool) -> Refusal:
    if (unknown := _UNKNOWN.fullmatch(message)) is not None:
        name = unknown[1]
        shown = name if len(name) <= _SHOWN and name.isidentifier() and name.isascii() else None
        place = _place(unknown[2] or "")
        param = ".".join(one for one in (place, shown) if one) or None
        which = "one of an unusual name" if shown is None else param
        return bad(f"unknown field: {which}", param)
    if (missing := _MISSING.fullmatch(message)) is not None:
        place = _place(missing[2] or "")
        param = f"{place}.{missing[1]}" if place else missing[1]
        return bad(f"{param} is required", param)
    where = _WHERE.search(message)
    param = _place(where[1]) if where is not None else ""
    if whole:
        param = param.partition("[")[0]
    if not param:
        return bad("the request is not an object of the known fields")
    steps = [name or "[]" for name, _ in _STEP.findall(f".{param}")]
    return bad(f"{param} must be {wanted(at(kind, steps))}", param)


def _place(path: str) -> str:
    """Give a path without the leading point, cut where it holds what the sender chose."""
    text = "".join(match[0] for match in _STEP.finditer(path.split("[...]")[0]))
    return text.removeprefix(".")
