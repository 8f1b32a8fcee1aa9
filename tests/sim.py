"""A whole network in one process: a clock, and TCP made of memory.

``SimReactor`` gives what :class:`voidllm.core.world.World` asks of a reactor. Nothing
happens until the clock is advanced, so a run is a function of its seed.
"""

from __future__ import annotations

import random
from typing import Any

from twisted.internet import defer
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost, ConnectionRefusedError
from twisted.internet.interfaces import (
    IConnector,
    IConsumer,
    IListeningPort,
    IPushProducer,
    IReactorCore,
    IReactorTCP,
    ITCPTransport,
)
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from voidllm.core.world import FileSystem, RealFileSystem, World

_HIGH_WATER = 64 * 1024
# Most bytes that one read gives, as with a real socket.
_SEGMENT = 64 * 1024
_EPOCH_MS = 1_790_000_000_000


@implementer(ITCPTransport, IConsumer, IPushProducer)
class SimTransport:
    """One end of a connection; what is written arrives at the other end a tick later."""

    def __init__(self, reactor: SimReactor, host: Any, peer: Any) -> None:
        self._reactor = reactor
        self._host, self._peer = host, peer
        self.protocol: Any = None
        self.other: SimTransport
        self.connected = True
        self.disconnecting = False
        self._incoming: list[bytes] = []
        self._end: Failure | None = None
        self._paused = False
        self._delivery: Any = None
        self._producer: Any = None
        self._streaming = False
        self._producer_paused = False

    # writing

    def write(self, data: bytes) -> None:
        """Queue ``data`` for the other end."""
        if self.connected and not self.disconnecting and data:
            self.other._take(bytes(data))
            self._press()

    def writeSequence(self, data: Any) -> None:
        """Queue several pieces."""
        self.write(b"".join(data))

    def _press(self) -> None:
        full = sum(map(len, self.other._incoming)) > _HIGH_WATER
        if self._producer is not None and self._streaming and full != self._producer_paused:
            self._producer_paused = full
            if full:
                self._producer.pauseProducing()
            else:
                self._producer.resumeProducing()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Attach a producer; a pull producer is asked at every tick."""
        self._producer, self._streaming = producer, streaming
        self._producer_paused = False
        if not self.connected:
            producer.stopProducing()
        elif not streaming:
            self._reactor.callLater(0, self._pull)

    def _pull(self) -> None:
        if self._producer is not None and not self._streaming and self.connected:
            self._producer.resumeProducing()
            self._reactor.callLater(0, self._pull)

    def unregisterProducer(self) -> None:
        """Detach the producer; a close that waited for it goes on."""
        self._producer = None
        if self.disconnecting:
            self._close(ConnectionDone())

    # reading

    def _take(self, data: bytes) -> None:
        self._incoming.append(data)
        self._schedule()

    def _schedule(self) -> None:
        if self._delivery is None and not self._paused and self.connected:
            self._delivery = self._reactor.callLater(self._reactor.latency_s, self._deliver)

    def _deliver(self) -> None:
        self._delivery = None
        if self._paused or not self.connected:
            return
        if self._incoming:
            data = b"".join(self._incoming)
            self._incoming = [data[_SEGMENT:]] if len(data) > _SEGMENT else []
            self.other._press()
            self.protocol.dataReceived(data[:_SEGMENT])
        if self._incoming:
            self._schedule()
        elif self._end is not None and not self._paused:
            self._lose(self._end)

    def pauseProducing(self) -> None:
        """Stop giving data to the protocol."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Give data to the protocol again."""
        self._paused = False
        if self._incoming or self._end is not None:
            self._schedule()

    def stopProducing(self) -> None:
        """Close."""
        self.loseConnection()

    # closing

    def loseConnection(self, *_: Any) -> None:
        """Close once the producer, if any, is done."""
        if self.connected and not self.disconnecting:
            self.disconnecting = True
            if self._producer is None:
                self._close(ConnectionDone())

    def loseWriteConnection(self) -> None:
        """Half-close: the other end sees the end of the stream."""
        self.other._finish(ConnectionDone())

    def abortConnection(self) -> None:
        """Close at once; data on the way is lost."""
        if self.connected:
            self._incoming.clear()
            self.other._incoming.clear()
            self.other._finish(ConnectionLost())
            self._reactor.callLater(0, self._lose, Failure(ConnectionAborted()))

    def _close(self, reason: Exception) -> None:
        self.other._finish(reason)
        self._reactor.callLater(0, self._lose, Failure(reason))

    def _finish(self, reason: Exception) -> None:
        if self._end is None:
            self._end = Failure(reason)
            self._schedule()

    def _lose(self, reason: Failure) -> None:
        if not self.connected:
            return
        self.connected = False
        if self._delivery is not None:
            self._delivery.cancel()
            self._delivery = None
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()
        self.other._finish(ConnectionDone())
        self._reactor.open.discard(self)
        self.protocol.connectionLost(reason)

    # facts

    def getHost(self) -> Any:
        """This end's address."""
        return self._host

    def getPeer(self) -> Any:
        """The other end's address."""
        return self._peer

    def getTcpNoDelay(self) -> bool:
        """Memory never waits."""
        return True

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Memory never waits."""

    def getTcpKeepAlive(self) -> bool:
        """There is nothing to keep alive."""
        return False

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """There is nothing to keep alive."""


@implementer(IListeningPort)
class SimPort:
    """A listening port."""

    def __init__(self, reactor: SimReactor, port: int, factory: Any) -> None:
        self._reactor, self.port, self.factory = reactor, port, factory

    def startListening(self) -> None:
        """Begin to listen."""
        self._reactor.ports[self.port] = self
        self.factory.doStart()

    def stopListening(self) -> defer.Deferred[None]:
        """Stop listening."""
        if self._reactor.ports.pop(self.port, None) is not None:
            self.factory.doStop()
        return defer.succeed(None)

    def getHost(self) -> IPv4Address:
        """Where it listens."""
        return IPv4Address("TCP", "127.0.0.1", self.port)


@implementer(IConnector)
class SimConnector:
    """One attempt to connect."""

    def __init__(self, reactor: SimReactor, host: str, port: int, factory: Any) -> None:
        self._reactor, self.host, self.port, self.factory = reactor, host, port, factory
        self.transport: SimTransport | None = None
        self._attempt: Any = None

    def connect(self) -> None:
        """Connect a tick later."""
        self.factory.doStart()
        self.factory.startedConnecting(self)
        self._attempt = self._reactor.callLater(0, self._go)

    def _go(self) -> None:
        self._attempt = None
        listening = self._reactor.ports.get(self.port)
        if listening is None:
            self.factory.clientConnectionFailed(self, Failure(ConnectionRefusedError()))
            return
        self._reactor.last_port += 1
        near = IPv4Address("TCP", "127.0.0.1", self._reactor.last_port)
        far = IPv4Address("TCP", self.host, self.port)
        client = SimTransport(self._reactor, near, far)
        server = SimTransport(self._reactor, far, near)
        client.other, server.other = server, client
        self._reactor.open.update((client, server))
        self.transport = client
        server.protocol = listening.factory.buildProtocol(near)
        client.protocol = self.factory.buildProtocol(far)
        server.protocol.makeConnection(server)
        client.protocol.makeConnection(client)

    def disconnect(self) -> None:
        """Close, or give up connecting."""
        if self._attempt is not None:
            self.stopConnecting()
        elif self.transport is not None:
            self.transport.loseConnection()

    def stopConnecting(self) -> None:
        """Give up connecting."""
        if self._attempt is not None:
            self._attempt.cancel()
            self._attempt = None

    def getDestination(self) -> IPv4Address:
        """Where to."""
        return IPv4Address("TCP", self.host, self.port)


@implementer(IReactorTCP, IReactorCore)
class SimReactor(Clock):
    """A clock with a network.

    :ivar open: ends of connections that are open.
    :ivar latency_s: how long a write takes to arrive.
    """

    running = True

    def __init__(self) -> None:
        super().__init__()
        self.ports: dict[int, SimPort] = {}
        self.open: set[SimTransport] = set()
        self.last_port = 40_000
        self.latency_s = 0.0005

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> SimPort:
        """Listen on a port, any if 0."""
        if port == 0:
            self.last_port += 1
            port = self.last_port
        listening = SimPort(self, port, factory)
        listening.startListening()
        return listening

    def connectTCP(
        self, host: str, port: int, factory: Any, timeout: float = 30, bindAddress: Any = None
    ) -> SimConnector:
        """Connect to a port of this network, whatever the host."""
        connector = SimConnector(self, host, port, factory)
        connector.connect()
        return connector

    def callFromThread(self, f: Any, *args: Any, **kwargs: Any) -> None:
        """There are no threads, so it is just called soon."""
        self.callLater(0, f, *args, **kwargs)

    def callWhenRunning(self, f: Any, *args: Any, **kwargs: Any) -> None:
        """It runs always."""
        f(*args, **kwargs)

    def addSystemEventTrigger(self, *args: Any, **kwargs: Any) -> object:
        """Shutdown is driven by the test."""
        return args

    def removeSystemEventTrigger(self, trigger: object) -> None:
        """Shutdown is driven by the test."""

    def resolve(self, name: str, timeout: Any = ()) -> defer.Deferred[str]:
        """Every name is this machine."""
        return defer.succeed("127.0.0.1")

    def run(self) -> None:
        """The test advances the clock."""

    def stop(self) -> None:
        """The test stops by not advancing the clock."""

    def crash(self) -> None:
        """The test stops by not advancing the clock."""

    def iterate(self, delay: float = 0) -> None:
        """Advance the clock."""
        self.advance(delay)

    def fireSystemEvent(self, eventType: str) -> None:
        """Shutdown is driven by the test."""

    def spin(self, seconds: float, step_s: float = 0.001) -> None:
        """Advance the clock in small steps, so that what is scheduled meanwhile runs too."""
        for _ in range(int(seconds / step_s)):
            self.advance(step_s)


def sim_world(reactor: SimReactor, seed: int = 1, fs: FileSystem | None = None) -> World:
    """Make a world without a real clock, real randomness or threads."""
    rng = random.Random(seed)
    return World(
        reactor=reactor,
        in_thread=defer.maybeDeferred,
        wall_ms=lambda: _EPOCH_MS + int(reactor.seconds() * 1000),
        random_bytes=rng.randbytes,
        rng=rng,
        fs=fs or RealFileSystem(),
    )
