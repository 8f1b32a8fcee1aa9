"""Send at once instead of in the reactor's next round, where that is known to be safe.

``transport.write`` always waits for the socket to be reported writable: one more turn of
the loop and two ``epoll_ctl`` calls for data that the kernel would have taken at once. This
is the only module that looks inside Twisted's TCP transport; where the inside is not as
expected, everything goes through ``transport.write``.
"""

from __future__ import annotations

import select
from typing import Any, Callable

from twisted.internet.tcp import Connection

from voidllm.http.polling import Outbox, outbox_of

#: How often :func:`has_left` is asked about a client whose upload is held back, in seconds.
LOOK_S = 1.0

#: What is relied on; :func:`sender` gives ``transport.write`` where one of them is missing.
_EXPECTED = (
    "_tempDataBuffer",
    "_writeDisconnected",
    "_writeDisconnecting",
    "connected",
    "dataBuffer",
    "disconnecting",
    "reactor",
    "socket",
)
#: Writes above this many bytes do not wait for the end of the turn.
_LARGE = 16 << 10


def sender(transport: Any) -> Callable[[bytes], Any]:
    """Give the cheapest way to write to ``transport`` that keeps its promises.

    Order and backpressure are those of ``transport.write``: as soon as anything is
    buffered, all goes there, and what the kernel does not take is buffered there too.
    On a reactor with an outbox, small writes wait for the end of the turn; whoever writes
    to the transport by other means first calls :func:`settle`.

    :param transport: any transport; only Twisted's own plain TCP gets a direct send.
    """
    if (
        not isinstance(transport, Connection)
        or not all(hasattr(transport, name) for name in _EXPECTED)
        or not isinstance(transport._tempDataBuffer, list)
    ):
        write: Callable[[bytes], Any] = transport.write
        return write
    outbox = outbox_of(transport.reactor)
    return _Direct(transport).send if outbox is None else _Collected(transport, outbox).collect


class _Direct:
    """Sends at once; an object and no closure, which would be four times its size."""

    __slots__ = ("_transport",)

    def __init__(self, transport: Any) -> None:
        self._transport = transport

    def send(self, data: bytes) -> None:
        """Have the kernel take ``data``, the transport what it leaves."""
        transport = self._transport
        if (
            transport.dataBuffer
            or transport._tempDataBuffer
            or transport.TLS
            or not transport.connected
            or transport.disconnecting
            or transport._writeDisconnecting
            or transport._writeDisconnected
        ):
            transport.write(data)
            return
        try:
            sent = transport.socket.send(data)
        except OSError:
            # Full, or broken: the reactor finds out which and reports it in its own turn.
            sent = 0
        if sent < len(data):
            transport.write(data[sent:] if sent else data)


class _Collected(_Direct):
    """Sends at the end of the reactor's turn, what was put off in one piece."""

    __slots__ = ("_outbox", "_waiting")

    def __init__(self, transport: Any, outbox: Outbox) -> None:
        super().__init__(transport)
        self._outbox = outbox
        self._waiting: bytes | list[bytes] | None = None

    def collect(self, data: bytes) -> None:
        """Put off ``data``."""
        waiting = self._waiting
        if waiting is None:
            self._waiting = data
            self._outbox.add(self)
        elif isinstance(waiting, list):
            waiting.append(data)
        else:
            self._waiting = [waiting, data]
        if len(data) > _LARGE:
            # Backpressure is felt by whoever writes much, while it writes.
            self._outbox.flush()

    def flush(self) -> None:
        """Send what was put off."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            self.send(b"".join(waiting) if isinstance(waiting, list) else waiting)


def settle(transport: Any) -> None:
    """Write now what the ``sender`` of ``transport`` has put off, if it does such a thing."""
    outbox = outbox_of(getattr(transport, "reactor", None))
    if outbox is not None:
        outbox.flush()


def listener(transport: Any) -> Callable[[], bool]:
    """Give a function that says whether nothing, not even an end, waits to be read.

    Reads nothing. It always says so for other transports than Twisted's plain TCP.
    """
    return _Listener(transport).is_quiet if isinstance(transport, Connection) else _quiet


class _Listener:
    """Asks the kernel about one connection."""

    __slots__ = ("_poll", "_transport")

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        # A third of what peeking costs, whose usual outcome is an exception (1.2 us).
        self._poll = select.poll()
        self._poll.register(transport.getHandle(), select.POLLIN)

    def is_quiet(self) -> bool:
        """See :func:`listener`."""
        # Once closed, its descriptor may be another's.
        return bool(self._transport.connected) and not self._poll.poll(0)


def _quiet() -> bool:
    return True


def tcp_below(transport: Any) -> Connection | None:
    """Give Twisted's TCP connection that is ``transport``, or is below it; ``None`` if there is none."""
    while transport is not None and not isinstance(transport, Connection):
        transport = getattr(transport, "transport", None)
    return transport


def has_left(transport: Any) -> bool:
    """Say whether the peer has closed, for a connection that nobody reads from at the moment.

    Under TLS the connection below is asked. It is never known of other transports than Twisted's
    plain TCP.
    """
    below = tcp_below(transport)
    if below is None or not below.connected:
        return False
    poll = select.poll()
    poll.register(below.getHandle(), select.POLLRDHUP)
    return bool(poll.poll(0))
