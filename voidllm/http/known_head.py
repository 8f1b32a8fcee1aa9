"""A message head that is not parsed again when it comes again.

Who keeps a connection sends nearly the same head each time: another length, else the same bytes.
The same bytes mean the same, so what was found in them the first time, checks included, holds.
"""

from __future__ import annotations

import re
from typing import Generic, Protocol, TypeVar

_LENGTH = re.compile(rb"\r\ncontent-length: (\d{1,15})\r\n", re.IGNORECASE)
_NAME = b"content-length"
#: Longest head that is kept: connections that wait must stay cheap.
LONGEST = 2048


class Parsed(Protocol):
    """What was found in a head, as far as it changes with the length that it states.

    :ivar headers: (lower-case name, value) pairs.
    :ivar content_length: the number in Content-Length; not read where there is none.
    """

    headers: list[tuple[bytes, bytes]]
    content_length: int | None


P = TypeVar("P", bound=Parsed)


class KnownHead(Generic[P]):
    """One head.

    :param text: the head as it was received, up to and including its empty line.
    :param meaning: what was found in it; its list of headers is replaced, never changed.
    :ivar size: of the head that was met last, in bytes.
    """

    __slots__ = ("__weakref__", "_cut", "_rest", "_text", "meaning", "size")

    def __init__(self, text: bytes, meaning: P) -> None:
        self._text = text
        self.size = len(text)
        self.meaning = meaning
        found = _LENGTH.search(text)
        #: Where the number is, if it is there in its usual form.
        self._cut, self._rest = found.span(1) if found is not None else (0, 0)

    @property
    def constant(self) -> bytes:
        """What heads have in common that differ in nothing but their length."""
        return self._text[: self._cut] + self._text[self._rest :]

    def begins(self, data: bytes) -> bool:
        """Say whether ``data`` begins with this head; then ``meaning`` and ``size`` are for ``data``."""
        return data.startswith(self._text) or self._begins_otherwise(data)

    def _begins_otherwise(self, data: bytes) -> bool:
        text, cut = self._text, self._cut
        if not cut or not data.startswith(text[:cut]):
            return False
        stop = data.find(b"\r", cut, cut + 16)
        number = data[cut:stop]
        rest = text[self._rest :]
        if stop < 0 or not number.isdigit() or not data.startswith(rest, stop):
            return False
        self._rest = stop
        self.size = stop + len(rest)
        self._text = data[: self.size]
        meaning = self.meaning
        meaning.content_length = int(number)
        meaning.headers = [(name, number if name == _NAME else value) for name, value in meaning.headers]
        return True
