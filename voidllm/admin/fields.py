"""Request bodies and queries, read strictly: every field known, once, and of its type."""

from __future__ import annotations

import json
from typing import Any, Collection, Mapping, NoReturn

from voidllm.core.errors import Refusal

MAX_BODY = 64 * 1024
MAX_TEXT = 200
_MAX_NUMBER = 2**53 - 1


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
            body.decode("utf-8"), object_pairs_hook=_without_duplicates, parse_constant=_no_constant
        )
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


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def known_only(value: Mapping[str, Any], known: Collection[str]) -> None:
    """Refuse fields that mean nothing here.

    :raises Refusal: 400, naming the first that is not known as far as that is safe.
    """
    for name in value:
        if name not in known:
            shown = name if len(name) <= 64 and name.isidentifier() else "a field of that name"
            raise bad(f"unknown field: {shown}", param=shown if shown == name else None)


def query_args(args: Mapping[bytes, list[bytes]], known: Collection[str]) -> dict[str, str]:
    """Read a query string, each argument once.

    :param args: names to values, as twisted.web has them.
    :raises Refusal: 400.
    """
    found: dict[str, str] = {}
    for raw, values in args.items():
        try:
            name = raw.decode("ascii")
            if len(values) != 1:
                raise bad("an argument is given twice", param=name if name in known else None)
            found[name] = values[0].decode("utf-8")
        except UnicodeDecodeError:
            raise bad("the query is not UTF-8") from None
    known_only(found, known)
    return found


def text(value: Mapping[str, Any], name: str, default: str | None = None) -> str | None:
    """Read a text of 1 to 200 printable characters.

    :raises Refusal: 400.
    """
    given = value.get(name)
    if given is None:
        return default
    if not isinstance(given, str) or not 0 < len(given) <= MAX_TEXT or not given.isprintable():
        raise bad(f"{name} must be a text of 1 to {MAX_TEXT} printable characters", param=name)
    return given


def number(value: Mapping[str, Any], name: str) -> int:
    """Read an integer from 0 up; 0 is the default.

    :raises Refusal: 400.
    """
    given = value.get(name)
    if given is None:
        return 0
    if type(given) is not int or not 0 <= given <= _MAX_NUMBER:
        raise bad(f"{name} must be an integer from 0 up", param=name)
    return given


def texts(value: Mapping[str, Any], name: str, most: int) -> frozenset[str] | None:
    """Read a list of texts; ``None`` if it is not given.

    :raises Refusal: 400.
    """
    given = value.get(name)
    if given is None:
        return None
    if not isinstance(given, list) or len(given) > most:
        raise bad(f"{name} must be a list of at most {most} texts", param=name)
    return frozenset(text({name: item}, name) or _empty(name) for item in given)


def _empty(name: str) -> NoReturn:
    raise bad(f"{name} must not hold null", param=name)


def flag(value: Mapping[str, str], name: str) -> bool:
    """Read ``true`` or ``false`` from a query; false is the default.

    :raises Refusal: 400.
    """
    given = value.get(name, "false")
    if given not in ("true", "false"):
        raise bad(f"{name} must be true or false", param=name)
    return given == "true"
