"""Server-sent events, split out of a byte stream without changing a byte.

Follows the event-stream grammar of the WHATWG HTML standard (section 9.2): lines end in
LF, CR LF or CR, a blank line ends an event, a line that starts with a colon is a comment.
"""

from __future__ import annotations

import re

from voidllm.core.errors import VoidLLMError

# Atomic groups: without them CR LF would be retried as two line ends.
_BLANK_LINE = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"


class EventTooLong(VoidLLMError):
    """One event is longer than the splitter may hold."""


class EventSplitter:
    """Cuts a stream into events, each with its terminating blank line.

    :param max_event: longest event held, in bytes.
    """

    __slots__ = ("_after_cr", "_buffer", "_max", "_scanned")

    def __init__(self, max_event: int = 4 << 20) -> None:
        self._max = max_event
        self._buffer = bytearray()
        self._scanned = 0
        self._after_cr = False

    def is_one(self, data: bytes) -> bool:
        """Say whether ``data`` is one whole event of one ``data`` line, with nothing held before it.

        If so, :meth:`feed` need not see it, and :func:`event_data` would give ``data[6:-2]``.
        """
        return (
            not self._buffer
            and not self._after_cr
            and data.startswith(b"data: ")
            and data.find(b"\n") == len(data) - 2
            and data.endswith(b"\n")
            and b"\r" not in data
        )

    def feed(self, data: bytes) -> list[bytes]:
        """Take some bytes and give the events that they complete, in order.

        :raises EventTooLong: when an unfinished event outgrows ``max_event``.
        """
        if self._after_cr and data:
            # The event before ended in CR; this LF is the rest of that line end.
            self._after_cr = False
            if data.startswith(b"\n"):
                data = data[1:]
        buffer = self._buffer
        if (
            not buffer
            and data.endswith(b"\n\n")
            and b"\r" not in data
            and data.find(b"\n\n") == len(data) - 2
        ):
            return [data]
        # In place: a sender of single bytes must not cost a copy of all that is held for each.
        buffer += data
        events = []
        start = 0
        search = _BLANK_LINE.search
        found = search(buffer, self._scanned)
        while found is not None:
            end = found.end()
            events.append(bytes(buffer[start:end]))
            start = end
            found = search(buffer, end)
        if start:
            del buffer[:start]
        if not buffer:
            self._scanned = 0
            self._after_cr = bool(events) and events[-1].endswith(b"\r")
        else:
            # A blank line may straddle the next segment by up to three bytes.
            self._scanned = max(0, len(buffer) - 3)
            if len(buffer) > self._max:
                raise EventTooLong
        return events

    def rest(self) -> bytes:
        """Give what follows the last complete event; the stream has ended."""
        rest, self._buffer = self._buffer, bytearray()
        return bytes(rest)


def event_data(event: bytes) -> bytes | None:
    """Give the data of one event, its data lines joined by LF; ``None`` if it has none."""
    if event.startswith(b"data: ") and event.find(b"\n") == len(event) - 2:
        return event[6:-2]
    lines = []
    for line in _LINE_END.split(event.removeprefix(_BOM)):
        if line.startswith(b"data:"):
            value = line[5:]
            lines.append(value[1:] if value.startswith(b" ") else value)
        elif line == b"data":
            lines.append(b"")
    return b"\n".join(lines) if lines else None
