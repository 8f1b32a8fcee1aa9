"""When bytes came: the kernel knows, and no clock of ours does for as long as nobody reads them.

Linux stamps what comes in (``SO_TIMESTAMPNS``, see socket(7)) and gives the stamp with the bytes, also to
who only peeks. That is done for sockets that are watched, each time just before the reactor reads from
them (:func:`~voidllm.http.polling.before_read_of`); the reading itself stays as it is.
"""

from __future__ import annotations

import socket
import struct
import sys
import time
from math import nan
from typing import Any

from voidllm.http.direct import tcp_below
from voidllm.http.polling import BeforeRead, before_read_of

#: As Linux has it on everything that we know of; Python does not name it.
_TIMESTAMPNS = getattr(socket, "SO_TIMESTAMPNS", 35)
_TIMESPEC = struct.Struct("@ll")
_SPACE = socket.CMSG_SPACE(_TIMESPEC.size)
#: As much as Twisted reads at a time. With MSG_TRUNC nothing is copied: what was read last has the stamp.
_ROOM = [bytearray(1 << 16)]
_PEEK = socket.MSG_PEEK | socket.MSG_TRUNC
#: The stamps are of a clock that may be set; what is older than this is no age.
_OLDEST_S = 60.0

wall_ns = time.time_ns


class Stamps:
    """The stamps of one connection, from when it is watched until :meth:`stop`.

    :param connection: Twisted's TCP connection, connected.
    :ivar at_s: when the newest of the bytes came that the reactor read last, on its clock, and as if
        looking had taken no time. Not a number before the first read, and where the kernel gives no stamp.
    """

    __slots__ = ("_before_read", "_fd", "_reactor", "_socket", "at_s")

    def __init__(self, connection: Any, before_read: BeforeRead) -> None:
        self.at_s = nan
        self._reactor = connection.reactor
        self._socket: socket.socket | None = connection.getHandle()
        self._fd: int = connection.fileno()
        self._before_read = before_read
        try:
            connection.getHandle().setsockopt(socket.SOL_SOCKET, _TIMESTAMPNS, 1)
        except OSError:
            # The connection is lost, and the reactor about to find out.
            self._socket = None
            return
        before_read[self._fd] = self._look

    def stop(self) -> None:
        """Look no more; ``at_s`` stays."""
        # Its number may be another connection's by now, which is watched too.
        if self._before_read.get(self._fd) == self._look:
            del self._before_read[self._fd]
        self._socket = None

    def _look(self) -> None:
        begun_s = self._reactor.seconds()
        self.at_s = nan
        if self._socket is None:
            return
        try:
            _, notes, _, _ = self._socket.recvmsg_into(_ROOM, _SPACE, _PEEK)
        except OSError:
            # Nothing is there after all, or the connection is lost; the reactor finds out which.
            return
        for level, kind, data in notes:
            if level == socket.SOL_SOCKET and kind == _TIMESTAMPNS and len(data) == _TIMESPEC.size:
                seconds, nanoseconds = _TIMESPEC.unpack(data)
                # An age at once: of the two clocks only this one moment is compared.
                age_s = (wall_ns() - seconds * 1_000_000_000 - nanoseconds) / 1e9
                if 0 <= age_s < _OLDEST_S:
                    now_s = self._reactor.seconds()
                    self.at_s = now_s - age_s + (now_s - begun_s)


class Stamping:
    """Keeps the kernel at it: it stamps nothing for a while after the first socket has asked.

    Who connects, sends and closes would not be stamped, were no other connection open that is watched.
    """

    __slots__ = ("_socket",)

    def __init__(self) -> None:
        self._socket: socket.socket | None = None

    def start(self, reactor: Any) -> None:
        """Have a socket that asks, if connections of ``reactor`` can be watched."""
        if self._socket is None and _can_watch(reactor):
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._socket.setsockopt(socket.SOL_SOCKET, _TIMESTAMPNS, 1)

    def stop(self) -> None:
        """Close it."""
        kept, self._socket = self._socket, None
        if kept is not None:
            kept.close()


def _can_watch(reactor: Any) -> bool:
    return sys.platform == "linux" and before_read_of(reactor) is not None


def watch(transport: Any) -> Stamps | None:
    """Watch a connection, under TLS the one below.

    :returns: ``None`` where there are no stamps at all: no TCP, no Linux, no turn of
        :mod:`~voidllm.http.polling`.
    """
    connection = tcp_below(transport)
    if connection is None or not connection.connected or not _can_watch(connection.reactor):
        return None
    before_read = before_read_of(connection.reactor)
    assert before_read is not None
    return Stamps(connection, before_read)
