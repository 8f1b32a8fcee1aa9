"""Identifiers: UUIDv7 (RFC 9562 section 5.7) and the checks on ids that callers send."""

from __future__ import annotations

import re
from typing import Callable

_UUID = re.compile(rb"\A[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z")


def uuid7(now_ms: int, random_bytes: Callable[[int], bytes]) -> str:
    """Make a UUIDv7 from a wall time and ten random bytes.

    :param now_ms: Unix time in milliseconds.
    :param random_bytes: source of randomness, ``os.urandom``-like.
    :returns: the 36-character lower-case text form.
    """
    tail = int.from_bytes(random_bytes(10), "big")
    value = (now_ms & 0xFFFFFFFFFFFF) << 80 | tail
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def is_uuid(value: bytes) -> bool:
    """Say whether ``value`` is a UUID in its canonical 36-character text form."""
    return _UUID.match(value) is not None
