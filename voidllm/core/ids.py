"""Identifiers: UUIDv7 (RFC 9562 section 5.7) and the checks on ids that callers send."""

from __future__ import annotations

import re
from typing import Callable

_UUID = re.compile(rb"\A[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z")


_RANDOM = 10
_AT_ONCE = 256
#: A hex digit with its upper two bits set to 10.
_VARIANT = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))


def uuid7(now_ms: int, random_bytes: Callable[[int], bytes]) -> str:
    """Make a UUIDv7 from a wall time and ten random bytes.

    :param now_ms: Unix time in milliseconds.
    :param random_bytes: source of randomness, ``os.urandom``-like.
    :returns: the 36-character lower-case text form.
    """
    return _start(now_ms) + _tail(random_bytes(_RANDOM).hex())


class IdSource:
    """Makes one UUIDv7 after the other, as :func:`uuid7` does, in half of its time.

    Randomness is fetched for many at once, so a process must not be forked between two of them.

    :param random_bytes: source of randomness, ``os.urandom``-like; asked when the first id is made.
    """

    __slots__ = ("_now_ms", "_random_bytes", "_start", "_tails")

    def __init__(self, random_bytes: Callable[[int], bytes]) -> None:
        self._random_bytes = random_bytes
        self._tails: list[str] = []
        self._now_ms = -1
        self._start = ""

    def __call__(self, now_ms: int) -> str:
        """Make an id.

        :param now_ms: Unix time in milliseconds.
        """
        if not self._tails:
            text = self._random_bytes(_RANDOM * _AT_ONCE).hex()
            self._tails = [_tail(text[at : at + 2 * _RANDOM]) for at in range(0, len(text), 2 * _RANDOM)]
        if now_ms != self._now_ms:
            self._now_ms = now_ms
            self._start = _start(now_ms)
        return self._start + self._tails.pop()


def _tail(text: str) -> str:
    """Put version and variant into twenty random hex digits."""
    return f"7{text[1:4]}-{_VARIANT[text[4]]}{text[5:8]}-{text[8:]}"


def _start(now_ms: int) -> str:
    text = "%012x" % (now_ms & 0xFFFFFFFFFFFF)
    return f"{text[:8]}-{text[8:]}-"


def is_uuid(value: bytes) -> bool:
    """Say whether ``value`` is a UUID in its canonical 36-character text form."""
    return _UUID.match(value) is not None
