"""What both programs need: HTTP/1.1 messages as they come in, an event loop with fine time-outs."""

from __future__ import annotations

import ctypes
import resource
import select
import signal
import time

_HEAD_MOST = 65536
_LINE_MOST = 4096
_PR_SET_PDEATHSIG, _PR_SET_TIMERSLACK = 1, 29

#: The clock of the C programs too: CLOCK_MONOTONIC.
now_ns = time.monotonic_ns


class Broken(Exception):
    """The peer does not speak HTTP/1.1."""


def prepare() -> None:
    """Die with the parent, wake up on time, have as many descriptors as are allowed."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    libc.prctl(_PR_SET_TIMERSLACK, 1)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Poller:
    """``epoll`` whose time-outs are as fine as ``select``'s; its own are whole milliseconds."""

    def __init__(self) -> None:
        self.epoll = select.epoll()
        self._self = [self.epoll.fileno()]

    def poll(self, until_ns: int) -> list[tuple[int, int]]:
        """Give events, at the latest at a moment of :data:`now_ns`."""
        left = until_ns - now_ns()
        if left > 0:
            select.select(self._self, (), (), left / 1e9)
        return self.epoll.poll(0, 256)


class Message:
    """One request or reply.

    :ivar start: first line of the head, empty until the head is complete.
    :ivar headers: by lower-case name.
    """

    __slots__ = ("_left", "_rest", "_state", "complete", "headers", "keep_alive", "start")

    def __init__(self) -> None:
        self.start = b""
        self.headers: dict[bytes, bytes] = {}
        self.complete = False
        self.keep_alive = True
        self._rest = b""
        self._left = 0
        self._state = "head"

    @property
    def status(self) -> int:
        """Give a reply's status.

        :raises Broken: the first line is no status line.
        """
        words = self.start.split(None, 2)
        if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
            raise Broken("status line")
        return int(words[1])

    @property
    def until_close(self) -> bool:
        """Say whether the body ends with the connection."""
        return self._state == "close"

    def feed(self, data: bytes, reply: bool) -> tuple[bytes, bytes]:
        """Take bytes; give what is body, and what comes after the message.

        :raises Broken: with bad framing.
        """
        if self._rest:
            data, self._rest = self._rest + data, b""
        while self._state == "head":
            end = data.find(b"\r\n\r\n")
            if end < 0:
                if len(data) > _HEAD_MOST:
                    raise Broken("head")
                self._rest = data
                return b"", b""
            self._begin(data[:end], reply)
            data = data[end + 4 :]
        if self._state == "length":
            body = data[: self._left]
            self._left -= len(body)
            self.complete = not self._left
            return body, data[len(body) :]
        if self._state == "close":
            return data, b""
        return self._chunks(data)

    def _begin(self, head: bytes, reply: bool) -> None:
        self.start, *lines = head.split(b"\r\n")
        for line in lines:
            name, _, value = line.partition(b":")
            self.headers[name.lower()] = value.strip()
        if reply and self.status < 200:
            self.start, self.headers = b"", {}
            return
        length = self.headers.get(b"content-length")
        if self.headers.get(b"transfer-encoding", b"").lower() == b"chunked":
            self._state = "size"
        elif length is not None or not reply:
            self._state = "length"
            self._left = int(length) if length and length.isdigit() else 0
        else:
            self._state = "close"
        self.keep_alive = self._state != "close" and self.headers.get(b"connection", b"").lower() != b"close"

    def _chunks(self, data: bytes) -> tuple[bytes, bytes]:
        found = b""
        while True:
            if self._state == "data":
                piece = data[: self._left]
                found += piece
                data = data[len(piece) :]
                self._left -= len(piece)
                if self._left:
                    return found, b""
                self._state = "end"
            line, newline, after = data.partition(b"\n")
            if not newline:
                if len(data) > _LINE_MOST:
                    raise Broken("chunk")
                self._rest = data
                return found, b""
            data = after
            if self._line(line.strip()):
                return found, data

    def _line(self, line: bytes) -> bool:
        if self._state == "size":
            try:
                self._left = int(line.partition(b";")[0], 16)
            except ValueError:
                raise Broken("chunk size") from None
            self._state = "data" if self._left else "trailer"
        elif self._state == "end":
            if line:
                raise Broken("chunk end")
            self._state = "size"
        elif not line:
            self.complete = True
        return self.complete
