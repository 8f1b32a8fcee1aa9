"""Tags that usage is reported by: ``name:value``, from a key or from headers that an administrator named.

Names and values are of a few plain characters, so that nothing else that a caller sends is ever kept.
"""

from __future__ import annotations

import re
from typing import Iterable, Mapping, Sequence

#: Tags of one request; those whose names come last are dropped.
MOST = 8

_PLAIN = re.compile(r"[a-z0-9_.-]{1,64}")
_PLAIN_BYTES = re.compile(rb"[a-z0-9_.-]{1,64}")

#: Headers that hold secrets or are about the message; no tags are read from them.
FORBIDDEN = frozenset(
    {
        *("authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "api-key"),
        *("x-goog-api-key", "host", "content-length", "content-type", "transfer-encoding", "connection"),
        *("forwarded", "x-forwarded-for", "x-request-id"),
    }
)


def usable_header(name: str) -> bool:
    """Say whether tags may be read from a header: its name is in lower case and it holds no secrets."""
    return _PLAIN.fullmatch(name) is not None and name not in FORBIDDEN


def joined(tags: Mapping[str, str]) -> str:
    """Write tags as usage events have them; what is not plain is left out."""
    plain = [
        f"{name}:{value}"
        for name, value in sorted(tags.items())
        if _PLAIN.fullmatch(name) and _PLAIN.fullmatch(value)
    ]
    return ",".join(plain[:MOST])


def with_headers(own: str, headers: Iterable[tuple[bytes, bytes]], names: Sequence[bytes]) -> str:
    """Add the tags that a request's headers hold; they replace those of the key with the same name.

    :param own: tags of the key, as :func:`joined` writes them.
    :param headers: (lower-case name, value) pairs.
    :param names: headers that are looked at.
    """
    found: dict[str, str] = {}
    for name, value in headers:
        if name in names and _PLAIN_BYTES.fullmatch(value):
            found[name.decode("ascii")] = value.decode("ascii")
    if not found:
        return own
    if own:
        for tag in own.split(","):
            key, _, text = tag.partition(":")
            found.setdefault(key, text)
    return joined(found)
