"""A front on a simulated clock with a transport in memory."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from tests.http.wire import Reply, take_all
from voidllm.core.world import World
from voidllm.http.front import FrontFactory
from voidllm.http.settings import FrontSettings


@implementer(ITCPTransport)
class MemoryTransport(StringTransport):
    """Remembers how it was closed."""

    def __init__(self, host: str = "192.0.2.7") -> None:
        super().__init__(peerAddress=IPv4Address("TCP", host, 4711))
        self.half_closed = False
        self.paused = False

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Take the hint."""

    def loseWriteConnection(self) -> None:
        """Remember the end of our half."""
        self.half_closed = True

    def pauseProducing(self) -> None:
        """Remember that nothing is read."""
        self.paused = True

    def resumeProducing(self) -> None:
        """Remember that it is read again."""
        self.paused = False

    @property
    def closed(self) -> bool:
        """Closed in any way."""
        return self.disconnecting or self.half_closed or bool(self.disconnected)


class Connected:
    """One connection of a factory."""

    def __init__(self, factory: Any, host: str = "192.0.2.7") -> None:
        self.transport = MemoryTransport(host)
        self.protocol = factory.buildProtocol(self.transport.getPeer())
        self.protocol.makeConnection(self.transport)

    def feed(self, *segments: bytes) -> None:
        """Receive segments, as long as the connection is open."""
        for segment in segments:
            if not self.transport.disconnecting and not self.transport.disconnected:
                self.protocol.dataReceived(segment)

    def leave(self) -> None:
        """The client closes."""
        self.protocol.connectionLost(Failure(ConnectionDone()))

    def replies(self) -> list[Reply]:
        """Every reply so far."""
        return take_all(self.transport.value())


def memory_world(clock: Clock) -> World:
    """Make a world whose time and randomness repeat."""
    counter = iter(range(1, 1 << 30))
    return World(
        reactor=clock,
        in_thread=lambda f, *a: f(*a),
        wall_ms=lambda: 1_700_000_000_000 + int(clock.seconds() * 1000),
        random_bytes=lambda size: next(counter).to_bytes(size, "big"),
    )


def memory_front(handler: Any, **settings: Any) -> tuple[Clock, FrontFactory]:
    """Make a front on a simulated clock."""
    clock = Clock()
    return clock, FrontFactory(memory_world(clock), handler, settings=FrontSettings(**settings))
