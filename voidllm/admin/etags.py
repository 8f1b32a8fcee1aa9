"""Entity tags (RFC 9110 section 8.8.3): a digest of what a thing is shown as."""

from __future__ import annotations

import hashlib

import msgspec


def etag_of(value: msgspec.Struct) -> str:
    """Give the strong tag of a thing as it is shown.

    Fields that its type names in ``passing`` change by themselves and do not count.
    """
    passing = dict.fromkeys(getattr(value, "passing", ()))
    if passing:
        value = msgspec.structs.replace(value, **passing)
    return f'"{hashlib.blake2b(msgspec.json.encode(value), digest_size=12).hexdigest()}"'


def matches(header: str, etag: str, weakly: bool = False) -> bool:
    """Say whether a list of tags, or ``*``, holds ``etag``.

    :param weakly: take ``W/"x"`` for ``"x"``, as ``If-None-Match`` does.
    """
    if header.strip() == "*":
        return True
    tags = [one.strip() for one in header.split(",")]
    return etag in tags or (weakly and f"W/{etag}" in tags)
