"""How a relayed reply travels from the parent to a worker, so that its end can be told from a cut.

Between two processes the end of a stream says nothing: the kernel closes the sockets of a killed
process as properly as those of one that was done. So the parent sends replies in frames, a length
in two bytes and as many bytes, and says with a frame of its own that the reply is all there.
Requests go the other way as they are: whoever has left, in whatever way, is gone.
"""

from __future__ import annotations

import socket
import struct
from typing import Any

_LENGTH = struct.Struct(">H")
#: Most payload bytes of one frame.
MAX_PAYLOAD = 32 << 10
#: Nothing follows: the client may be told so.
END = 0
#: The connection was not taken; nothing of it was read.
REFUSED = 0xFFFF


class FramingSocket(socket.socket):
    """A stream socket of ``AF_UNIX`` whose ``send`` frames; what it receives is plain.

    Done at the socket, so that whoever sends past a transport's buffer frames too.

    :param fd: owned from now on, if nothing is raised.
    :raises OSError: if it is no socket.
    """

    __slots__ = ("_head", "_left")

    def __init__(self, fd: int) -> None:
        super().__init__(fileno=fd)
        self._head = b""
        self._left = 0

    def send(self, data: Any, flags: int = 0) -> int:
        """Send some of ``data``; what is left is to be given again, first, as with any socket.

        :returns: how many bytes of it were taken.
        """
        if not self._left:
            self._left = min(len(data), MAX_PAYLOAD)
            if not self._left:
                return 0
            self._head = _LENGTH.pack(self._left)
        head = len(self._head)
        sent = self.sendmsg((self._head, memoryview(data)[: self._left]), (), flags)
        if sent < head:
            self._head = self._head[sent:]
            return 0
        self._head = b""
        self._left -= sent - head
        return sent - head

    def mark(self, mark: int) -> bool:
        """Send :data:`END` or :data:`REFUSED`, between two frames.

        :returns: whether there was room for it.
        :raises OSError: if the worker is gone.
        """
        try:
            # Two bytes are never split on these sockets.
            super().send(_LENGTH.pack(mark), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return False
        return True


class Unframer:
    """Takes frames apart again.

    :ivar mark: :data:`END` or :data:`REFUSED` once it has come; nothing after it counts.
    :ivar begun: whether anything has come.
    """

    __slots__ = ("_left", "_rest", "begun", "mark")

    def __init__(self) -> None:
        self.mark: int | None = None
        self.begun = False
        self._left = 0
        self._rest = b""

    def feed(self, data: bytes) -> bytes:
        """Give the payload bytes in the next ``data`` of the stream."""
        self.begun = True
        if len(data) <= self._left:
            self._left -= len(data)
            return data
        if self._rest:
            data, self._rest = self._rest + data, b""
        parts = []
        at, size = 0, len(data)
        while self.mark is None and at < size:
            if self._left:
                part = data[at : at + self._left]
                parts.append(part)
                at += len(part)
                self._left -= len(part)
            elif size - at == 1:
                self._rest = data[at:]
                break
            else:
                (length,) = _LENGTH.unpack_from(data, at)
                at += 2
                if length in (END, REFUSED):
                    self.mark = length
                else:
                    self._left = length
        return parts[0] if len(parts) == 1 else b"".join(parts)
