"""Twisted's ``Headers``, built only when more than a lookup is asked for.

Building the canonical form costs more than sending the request that it is for, and what
the pool is given, and gives, are plain pairs anyway.
"""

from __future__ import annotations

from typing import Any, Iterable

from twisted.web.http_headers import Headers

Pair = tuple[bytes, bytes]


def _bytes(text: Any) -> Any:
    return text.encode("utf-8") if isinstance(text, str) else text


class LazyHeaders(Headers):
    """Keeps (name, value) pairs in order; anything unusual turns it into an ordinary ``Headers``.

    Values are not cleaned of line breaks: the pool refuses those.
    """

    __slots__ = ("_pairs",)

    def __init__(self, pairs: Iterable[Pair] = ()) -> None:
        # The base's dictionary is made by ``_build``; until then nothing of the base is used.
        self._pairs: list[Pair] | None = list(pairs)

    def pairs(self) -> list[Pair]:
        """Give the pairs; names in lower case if they were given so."""
        if self._pairs is not None:
            return self._pairs
        return [(name.lower(), value) for name, values in super().getAllRawHeaders() for value in values]

    def getRawHeaders(self, name: Any, default: Any = None) -> Any:
        """Give all values of one name."""
        if self._pairs is None:
            return super().getRawHeaders(name, default)
        wanted = _bytes(name).lower()
        values = [value for key, value in self._pairs if key == wanted or key.lower() == wanted]
        if not values:
            return default
        return [value.decode("utf-8", "replace") for value in values] if isinstance(name, str) else values

    def hasHeader(self, name: Any) -> bool:
        """Say whether there is such a field."""
        return self.getRawHeaders(name) is not None

    def addRawHeader(self, name: Any, value: Any) -> None:
        """Add a field."""
        if self._pairs is None:
            super().addRawHeader(name, value)
        else:
            self._pairs.append((_bytes(name).lower(), _bytes(value)))

    def setRawHeaders(self, name: Any, values: Any) -> None:
        """Replace a field."""
        if self._pairs is None:
            super().setRawHeaders(name, values)
            return
        self.removeHeader(name)
        wanted = _bytes(name).lower()
        if wanted == b"content-encoding" and list(values) == [b""]:
            # Twisted's ContentDecoderAgent leaves this behind where there was no such field.
            return
        self._pairs.extend([(wanted, _bytes(value)) for value in values])

    def removeHeader(self, name: Any) -> None:
        """Remove a field, if it is there."""
        if self._pairs is None:
            super().removeHeader(name)
        elif self.hasHeader(name):
            wanted = _bytes(name).lower()
            self._pairs = [pair for pair in self._pairs if pair[0].lower() != wanted]

    def getAllRawHeaders(self) -> Any:
        """Iterate over (canonical name, values)."""
        self._build()
        return super().getAllRawHeaders()

    def copy(self) -> Headers:
        """Copy."""
        return LazyHeaders(self._pairs) if self._pairs is not None else super().copy()

    def __eq__(self, other: object) -> bool:
        """Compare as any ``Headers``."""
        return isinstance(other, Headers) and dict(self.getAllRawHeaders()) == dict(other.getAllRawHeaders())

    __hash__ = None  # type: ignore[assignment]

    def _build(self) -> None:
        pairs, self._pairs = self._pairs, None
        if pairs is not None:
            super().__init__()
            for name, value in pairs:
                super().addRawHeader(name, value)
