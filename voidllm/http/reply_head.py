"""The lines of a reply head that both faces write."""

from __future__ import annotations

from email.utils import formatdate
from http import HTTPStatus
from typing import Callable, Sequence

from voidllm.core.ids import is_uuid, uuid7
from voidllm.core.world import World

_REASONS = {status.value: status.phrase.encode("ascii") for status in HTTPStatus}
_STATUS_LINES = {status: b"HTTP/1.1 %d %s\r\n" % (status, text) for status, text in _REASONS.items()}
_join_pair = b": ".join
#: Statuses whose replies have no body and no Content-Length (RFC 9110 section 8.6).
BODYLESS = frozenset({204, 304})


def status_line(status: int, old: bool) -> bytes:
    """Give the status line; a client of HTTP/1.0 (``old``) is answered in its own version."""
    line = _STATUS_LINES.get(status)
    if line is None:
        line = b"HTTP/1.1 %d %s\r\n" % (status, b"Error" if status >= 400 else b"OK")
    return b"HTTP/1.0" + line[8:] if old else line


def field_lines(headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Write header fields.

    :raises ValueError: when a name or value would break out of its line.
    """
    count = len(headers)
    if not count:
        return b""
    block = b"\r\n".join(map(_join_pair, headers)) + b"\r\n"
    if block.count(b"\n") != count or block.count(b"\r") != count or b"\0" in block:
        raise ValueError("a reply header holds a line end")
    return block


class DateLine:
    """The ``Date`` field, made once per second."""

    __slots__ = ("_line", "_second", "_wall_ms")

    def __init__(self, wall_ms: Callable[[], int]) -> None:
        self._wall_ms = wall_ms
        self._second = -1
        self._line = b""

    def __call__(self) -> bytes:
        """Give the whole line with its line end."""
        second = self._wall_ms() // 1000
        if second != self._second:
            self._second = second
            self._line = b"Date: %s\r\n" % formatdate(second, usegmt=True).encode("ascii")
        return self._line


def new_request_id(world: World) -> str:
    """Make a request id for a message that brought none."""
    return uuid7(world.wall_ms(), world.random_bytes)


def choose_request_id(sent: bytes | None, world: World) -> str:
    """Take the client's request id if it is a UUID (in lower case), else make one."""
    return sent_request_id(sent) or new_request_id(world)


def sent_request_id(sent: bytes | None) -> str:
    """Give the client's request id in lower case if it is a UUID, else ``""``."""
    return sent.decode("ascii").lower() if sent is not None and is_uuid(sent) else ""
