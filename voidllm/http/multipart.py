"""``multipart/form-data`` (RFC 7578, RFC 2046) read from a stream, without I/O.

Nothing of a part's content is held back but what could be the beginning of a delimiter.
"""

from __future__ import annotations

from typing import TypeAlias

from attrs import frozen

from voidllm.http.part_headers import PartHead, bad_part, parse_part_head


@frozen
class MultipartLimits:
    """Bounds of one multipart body, in bytes and parts."""

    max_parts: int = 64
    max_head: int = 8 << 10


@frozen
class PartStart:
    """A part begins."""

    head: PartHead


@frozen
class PartData:
    """Some content of the part that began last."""

    data: bytes


@frozen
class PartEnd:
    """The part is complete."""


@frozen
class End:
    """The closing delimiter was seen."""


Event: TypeAlias = PartStart | PartData | PartEnd | End
_PART_END = PartEnd()
_END = End()

_PREAMBLE, _AFTER_DELIMITER, _HEAD, _CONTENT, _EPILOGUE = range(5)


class MultipartScanner:
    """Turns bytes into events.

    A preamble, white space after a delimiter and a delimiter that is only the beginning of
    a longer line are legal for some readers and not for others; they are refused. What
    follows the closing delimiter is dropped.

    :param boundary: as :func:`~voidllm.http.part_headers.parse_boundary` gives it.
    :ivar done: the closing delimiter was seen.
    """

    def __init__(self, boundary: bytes, limits: MultipartLimits | None = None) -> None:
        self._delimiter = b"\r\n--" + boundary
        self._limits = limits or MultipartLimits()
        self._state = _PREAMBLE
        self._buffer = b""
        self._parts = 0
        self.done = False

    def feed(self, data: bytes) -> list[Event]:
        """Take some bytes and give the events in them, in order.

        :raises Refusal: 400; the scanner cannot be used further.
        """
        data = self._buffer + data if self._buffer else data
        self._buffer = b""
        events: list[Event] = []
        while True:
            if self._state == _CONTENT:
                rest = self._content(data, events)
            elif self._state == _HEAD:
                rest = self._head(data, events)
            elif self._state == _AFTER_DELIMITER:
                rest = self._after_delimiter(data, events)
            elif self._state == _PREAMBLE:
                rest = self._preamble(data)
            else:
                return events
            if rest is None:
                return events
            data = rest

    def close(self) -> None:
        """The input has ended.

        :raises Refusal: 400 when the closing delimiter was not seen.
        """
        if not self.done:
            raise bad_part("the multipart body is incomplete")

    # Each step gives what remains for the next one, or None when it needs more input,
    # having put into the buffer what has to be looked at again.

    def _preamble(self, data: bytes) -> bytes | None:
        for opening in (self._delimiter[2:], self._delimiter):
            if data.startswith(opening):
                self._state = _AFTER_DELIMITER
                return data[len(opening) :]
        if not any(opening.startswith(data) for opening in (self._delimiter[2:], self._delimiter)):
            raise bad_part("the multipart body does not begin with its boundary")
        self._buffer = data
        return None

    def _after_delimiter(self, data: bytes, events: list[Event]) -> bytes | None:
        mark = data[:2]
        if mark == b"\r\n":
            self._parts += 1
            if self._parts > self._limits.max_parts:
                raise bad_part("the multipart body has too many parts")
            self._state = _HEAD
            return data[2:]
        if mark == b"--":
            self._state = _EPILOGUE
            self.done = True
            events.append(_END)
            return b""
        if mark not in (b"", b"\r", b"-"):
            raise bad_part("a delimiter of the multipart body is malformed")
        self._buffer = data
        return None

    def _head(self, data: bytes, events: list[Event]) -> bytes | None:
        limit = self._limits.max_head
        end = 0 if data.startswith(b"\r\n") else data.find(b"\r\n\r\n", 0, limit)
        if end < 0:
            if len(data) >= limit:
                raise bad_part("the headers of a part are too large")
            self._buffer = data
            return None
        self._state = _CONTENT
        events.append(PartStart(parse_part_head(data[:end])))
        return data[end + 4 :]

    def _content(self, data: bytes, events: list[Event]) -> bytes | None:
        delimiter = self._delimiter
        found = data.find(delimiter)
        if found >= 0:
            if found:
                events.append(PartData(data[:found]))
            events.append(_PART_END)
            self._state = _AFTER_DELIMITER
            return data[found + len(delimiter) :]
        # A delimiter holds CR only as its first byte, so one candidate is enough.
        keep = data.rfind(b"\r", max(0, len(data) - len(delimiter) + 1))
        if keep < 0 or not delimiter.startswith(data[keep:]):
            keep = len(data)
        if keep:
            events.append(PartData(data[:keep]))
        self._buffer = data[keep:]
        return None
