"""Clients that speak TLS with a worker, and are the parent's."""

from __future__ import annotations

import socket
import ssl
from typing import Any

from twisted.internet.threads import deferToThread
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import TestCase

from tests.http.test_server_tls import make_certificates
from tests.link.relay_rig import Parent, Worker, channel_and_socket, pairs, until
from tests.link.test_relay import ask, get, pattern_of, reply
from voidllm.http.server_tls import server_context_factory


class Secure(TestCase):
    """TLS ends in the worker."""

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        cert, key, _ = make_certificates(self.mktemp())
        parent_end, worker_end, listening = channel_and_socket()
        self.port: int = listening.getsockname()[1]
        self.parent = Parent(reactor)
        self.listener = self.parent.listen(parent_end)
        contexts = server_context_factory(cert, key)
        self.worker = Worker(
            reactor,
            worker_end.detach(),
            listening.detach(),
            wrap=lambda front: TLSMemoryBIOFactory(contexts, False, front),
        )

    async def tearDown(self) -> None:
        await self.worker.stop()
        self.parent.stop()
        await until(self.reactor, lambda: not self.listener.connections, "the relayed connections to end")
        await until(self.reactor, lambda: not pairs(self.reactor), "pairs to be closed")

    def connect(self) -> ssl.SSLSocket:
        """Open a blocking connection, from a thread."""
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        client = context.wrap_socket(
            socket.create_connection(("127.0.0.1", self.port), 20), suppress_ragged_eofs=False
        )
        self.addCleanup(client.close)
        return client

    async def test_is_secure(self) -> None:
        """The parent's request says that it is secure, and whose it is; so does the next one."""
        client = await deferToThread(self.connect)
        for _ in range(2):
            said = await deferToThread(ask, client, get("/echo"))
            self.assertTrue(said["secure"])
            self.assertEqual(said["peer"], ["IPv4Address", *client.getsockname()])

    async def test_large_reply_and_close(self) -> None:
        """Everything arrives before the parent's close, which is a close of TLS too."""

        def talk() -> bytes:
            client = self.connect()
            client.sendall(get("/big/3000000", "Connection: close\r\n"))
            _, body = reply(client)
            # An end without TLS's own word for it would be an error.
            assert client.recv(1) == b""
            return body

        self.assertEqual(await deferToThread(talk), pattern_of(3_000_000))

    async def test_parent_aborts(self) -> None:
        """A cut reply is a cut connection, not a close of TLS."""
        client = await deferToThread(self.connect)
        client.sendall(get("/hang"))
        await until(self.reactor, lambda: self.parent.hang.requests, "the request")
        while not (await deferToThread(client.recv, 65536)).endswith(b"begin"):
            pass
        (relayed,) = self.listener.connections
        relayed.abortConnection()
        with self.assertRaises((ConnectionResetError, ssl.SSLEOFError)):
            await deferToThread(client.recv, 65536)

    async def test_client_leaves(self) -> None:
        """A client that leaves is gone for the Site within a second."""
        client = await deferToThread(self.connect)
        client.sendall(get("/hang"))
        await until(self.reactor, lambda: self.parent.hang.requests, "the request")
        client.close()
        await until(self.reactor, lambda: self.parent.hang.gone, "the Site to know", 1.0)

    async def test_refused(self) -> None:
        """The 503 reaches a client of TLS as well."""
        self.listener.stop()

        def talk() -> bytes:
            client = self.connect()
            client.sendall(get("/echo"))
            return reply(client)[0]

        self.assertTrue((await deferToThread(talk)).startswith(b"HTTP/1.1 503"))
