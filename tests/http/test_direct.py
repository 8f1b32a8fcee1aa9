"""Sending at once keeps order, and is used only where it is known to be safe."""

from __future__ import annotations

from typing import Any

from twisted.internet import defer, reactor
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.http.rawserver import RawServer
from voidllm.http.direct import listener, sender, settle
from voidllm.http.polling import Outbox


class OtherTransportTests(SynchronousTestCase):
    """Transports that are not Twisted's plain TCP."""

    def test_write_is_used(self) -> None:
        """Anything else is written to as usual."""
        transport = StringTransport()
        self.assertEqual(sender(transport), transport.write)

    def test_always_quiet(self) -> None:
        """Nobody can know what waits in anything else."""
        self.assertTrue(listener(StringTransport())())


class DirectSendTests(TestCase):
    """A real connection."""

    timeout = 10

    async def setUp(self) -> None:
        """Connect."""
        self.server = RawServer(reactor)
        connected: defer.Deferred[Any] = defer.Deferred()

        class Client(Protocol):
            def connectionMade(self) -> None:
                connected.callback(self.transport)

        factory: Any = ClientFactory.forProtocol(Client)
        factory.noisy = False
        reactor.connectTCP("127.0.0.1", self.server.port, factory)  # type: ignore[attr-defined]
        self.transport: Any = await connected
        self.peer = await self.server.accept()

    async def tearDown(self) -> None:
        """Close."""
        self.transport.abortConnection()
        await self.server.stop()

    async def test_at_once(self) -> None:
        """Nothing is left for the reactor's next round."""
        sender(self.transport)(b"hello")
        self.assertEqual((self.transport.dataBuffer, self.transport._tempDataBuffer), (b"", []))
        await self.peer.until(lambda: self.peer.received == b"hello")

    def outbox(self) -> Outbox:
        """Give the reactor an outbox that the test empties."""
        outbox = Outbox()
        setattr(reactor, "voidllm_outbox", outbox)  # noqa: B010 - not a known attribute
        self.addCleanup(delattr, reactor, "voidllm_outbox")
        return outbox

    async def test_collected(self) -> None:
        """With an outbox, small writes of one turn leave together at its end."""
        outbox = self.outbox()
        send = sender(self.transport)
        send(b"a")
        send(b"b")
        self.assertTrue(listener(self.peer.transport)())
        outbox.flush()
        self.assertEqual((self.transport.dataBuffer, self.transport._tempDataBuffer), (b"", []))
        await self.peer.until(lambda: self.peer.received == b"ab")

    async def test_large_writes_do_not_wait(self) -> None:
        """A large write takes what waits with it, at once and in order."""
        self.outbox()
        send = sender(self.transport)
        send(b"a")
        send(b"b" * 20_000)
        await self.peer.until(lambda: self.peer.received == b"a" + b"b" * 20_000)

    async def test_settled(self) -> None:
        """What waits is written before something else writes to the transport."""
        self.outbox()
        sender(self.transport)(b"a")
        settle(self.transport)
        self.transport.write(b"b")
        await self.peer.until(lambda: self.peer.received == b"ab")

    async def test_collected_then_closed(self) -> None:
        """Closing does not lose what waits; a connection that is gone loses it quietly."""
        outbox = self.outbox()
        sender(self.transport)(b"a")
        self.transport.loseConnection()
        outbox.flush()
        await self.peer.until(lambda: self.peer.received == b"a")
        send = sender(self.transport)
        send(b"late")
        await self.peer.until(lambda: not self.peer.transport.connected)
        outbox.flush()

    async def test_listening(self) -> None:
        """Bytes and an end that wait are noticed without being read."""
        is_quiet = listener(self.transport)
        self.assertTrue(is_quiet())
        self.transport.pauseProducing()
        self.peer.transport.socket.send(b"x")
        self.assertEqual((is_quiet(), is_quiet()), (False, False))
        self.assertEqual(self.transport.socket.recv(10), b"x")
        self.assertTrue(is_quiet())
        self.peer.transport.socket.shutdown(1)
        self.assertFalse(is_quiet())

    async def test_order(self) -> None:
        """What is buffered goes first, and what the kernel does not take is buffered."""
        send = sender(self.transport)
        self.peer.transport.pauseProducing()
        pieces = [b"%07d" % n * 20_000 for n in range(40)]
        for n, piece in enumerate(pieces):
            if n % 3:
                send(piece)
            else:
                self.transport.write(piece)
        self.peer.transport.resumeProducing()
        expected = b"".join(pieces)
        await self.peer.until(lambda: len(self.peer.received) >= len(expected))
        self.assertEqual(self.peer.received, expected)

    async def test_after_close(self) -> None:
        """What was sent before a close arrives; sending on a lost connection does nothing."""
        send = sender(self.transport)
        send(b"last")
        self.transport.loseConnection()
        await self.peer.lost()
        self.assertEqual(self.peer.received, b"last")
        send(b"too late")
        self.assertEqual((self.transport.dataBuffer, self.transport._tempDataBuffer), (b"", []))
