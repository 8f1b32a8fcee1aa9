"""Several listening sockets on one address."""

from __future__ import annotations

import os
import socket
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from voidllm.link.listener import adopt, bind_reuseport


class Binding(SynchronousTestCase):
    def _bind(self, host: str, port: int, count: int) -> list[socket.socket]:
        sockets = bind_reuseport(host, port, 64, count)
        for one in sockets:
            self.addCleanup(one.close)
        return sockets

    def test_one_port(self) -> None:
        """All get the port that the first one got, do not block, and are not inherited unasked."""
        for host, family in (("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6), ("", socket.AF_INET)):
            sockets = self._bind(host, 0, 3)
            self.assertEqual(len({one.getsockname() for one in sockets}), 1)
            for one in sockets:
                self.assertEqual(one.family, family)
                self.assertTrue(one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
                self.assertFalse(one.getblocking() or one.get_inheritable())

    def test_balance(self) -> None:
        """Of a thousand connections each of four sockets gets its quarter, by a quarter more or less."""
        sockets = self._bind("127.0.0.1", 0, 4)
        taken = [0, 0, 0, 0]
        for start in range(0, 1000, 50):
            clients = [socket.create_connection(sockets[0].getsockname()) for _ in range(start, start + 50)]
            for number, one in enumerate(sockets):
                try:
                    while True:
                        one.accept()[0].close()
                        taken[number] += 1
                except BlockingIOError:
                    pass
            for client in clients:
                client.close()
        self.assertEqual(sum(taken), 1000)
        for share in taken:
            self.assertTrue(187 <= share <= 313, taken)

    def test_somebody_else(self) -> None:
        """An address on which anybody listens is refused, whether they would share it or not."""
        ours = self._bind("127.0.0.1", 0, 2)
        port = ours[0].getsockname()[1]
        for host in ("127.0.0.1", ""):
            with self.assertRaises(CannotListenError):
                bind_reuseport(host, port, 64, 2)
        with socket.create_server(("127.0.0.1", 0)) as alone, self.assertRaises(CannotListenError):
            bind_reuseport("127.0.0.1", alone.getsockname()[1], 64, 2)

    def test_both_at_once(self) -> None:
        """Of two that begin together only one can listen, even if both could bind."""
        other = socket.socket()
        self.addCleanup(other.close)
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", 0))
        self._bind("127.0.0.1", other.getsockname()[1], 2)
        with self.assertRaises(OSError):
            other.listen()

    def test_again_after_the_end(self) -> None:
        """A port whose connections linger can be listened on again."""
        (first,) = bind_reuseport("127.0.0.1", 0, 64, 1)
        where = first.getsockname()
        client = socket.create_connection(where)
        first.accept()[0].close()
        first.close()
        client.close()
        self._bind("127.0.0.1", where[1], 2)

    def test_no_address_of_ours(self) -> None:
        """The error names the address and the reason, and nothing is left open."""
        before = len(os.listdir("/proc/self/fd"))
        with self.assertRaises(CannotListenError) as caught:
            bind_reuseport("192.0.2.1", 80, 64, 2)
        self.assertEqual(caught.exception.interface, "192.0.2.1")
        self.assertIsNotNone(caught.exception.socketError.errno)
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)


class Greeter(Protocol):
    """Says something and closes."""

    def connectionMade(self) -> None:
        """Say it."""
        assert self.transport is not None
        self.transport.write(b"hello")
        self.transport.loseConnection()


class Adopting(TestCase):
    async def _hello(self, where: Any) -> bytes:
        def talk() -> bytes:
            with socket.create_connection(where, 10) as client:
                return client.recv(10)

        return await deferToThread(talk)

    async def test_a_successor_takes_over(self) -> None:
        """A stopped port leaves the socket to others, who get the connections that waited in it."""
        from twisted.internet import reactor

        (kept,) = bind_reuseport("127.0.0.1", 0, 64, 1)
        self.addCleanup(kept.close)
        where = kept.getsockname()
        factory = Factory.forProtocol(Greeter)
        factory.noisy = False
        for _ in range(2):
            waiting = socket.create_connection(where, 10)
            port = adopt(reactor, os.dup(kept.fileno()), factory)
            self.assertEqual(port.getHost().port, where[1])
            self.assertEqual(await deferToThread(waiting.recv, 10), b"hello")
            self.assertEqual(await self._hello(where), b"hello")
            waiting.close()
            await port.stopListening()
