"""Clients that leave while their upload is held back, and nobody reads from them."""

from __future__ import annotations

from typing import Any

from twisted.internet.endpoints import SSL4ClientEndpoint, connectProtocol
from twisted.internet.ssl import Certificate, optionsForClientTLS, trustRootFromCertificates
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from tests.http.behaviour import turn
from tests.http.memory import memory_world
from tests.http.test_server_tls import make_certificates
from tests.http.wire import RawClient, connect
from voidllm.http.front import FrontFactory
from voidllm.http.server_tls import server_context_factory

_HEAD = b"POST /v1/upload HTTP/1.1\r\nHost: h\r\nContent-Length: 9000000\r\n\r\n"


class Holding:
    """Takes the beginning of an upload, then nothing more until told."""

    def __init__(self) -> None:
        self.request: Any = None
        self.size = 0
        self.gone = 0

    def handle(self, request: Any, responder: Any) -> None:
        """Take one request."""
        self.request = request
        responder.register(self)
        request.body.stream(1 << 30, self.chunk, lambda: None, lambda error: None)

    def chunk(self, data: bytes) -> None:
        """Hold the client back."""
        self.size += len(data)
        self.request.body.pause()

    def pauseProducing(self) -> None:
        """Nothing is sent."""

    def resumeProducing(self) -> None:
        """Nothing is sent."""

    def stopProducing(self) -> None:
        """The client is gone."""
        self.gone += 1


class HeldClients(TestCase):
    """The front asks the kernel now and then."""

    tls = False

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.clock = Clock()
        self.handler = Holding()
        self.factory = FrontFactory(memory_world(self.clock), self.handler)
        if self.tls:
            cert, key, self.root = make_certificates(self.mktemp())
            context = server_context_factory(cert, key)
            port = self.reactor.listenSSL(0, self.factory, context, interface="127.0.0.1")
        else:
            port = self.reactor.listenTCP(0, self.factory, interface="127.0.0.1")
        self.port = port.getHost().port
        self.addCleanup(port.stopListening)

    async def client(self) -> RawClient:
        """Connect."""
        if not self.tls:
            return await connect(self.reactor, self.port)
        trust = trustRootFromCertificates([Certificate.loadPEM(self.root)])
        options = optionsForClientTLS("gateway.test", trust)
        endpoint = SSL4ClientEndpoint(self.reactor, "127.0.0.1", self.port, options, timeout=5)
        return await connectProtocol(endpoint, RawClient())

    async def until(self, check: Any) -> bool:
        """Let the reactor run, a good number of times at most."""
        for _ in range(2000):
            if check():
                return True
            await turn(self.reactor)
        return False

    async def held(self) -> RawClient:
        """Begin an upload and have it held back."""
        client = await self.client()
        client.transport.write(_HEAD + b"x" * 1000)
        self.assertTrue(await self.until(lambda: self.handler.size))
        return client

    async def test_a_client_that_leaves_is_noticed(self) -> None:
        """Whoever closes while nothing is read is gone within a second or two."""
        client = await self.held()
        client.transport.abortConnection()
        self.assertTrue(await self.until(lambda: client.closed))
        await turn(self.reactor)
        self.assertEqual(self.handler.gone, 0)
        self.clock.advance(1.1)
        self.assertTrue(await self.until(lambda: self.handler.gone == 1 and not self.factory.connections))
        self.assertEqual(self.factory.in_flight, 0)

    async def test_a_client_that_waits_may_wait(self) -> None:
        """Being held back is no silence of the client's; read from again, it has its usual time."""
        client = await self.held()
        for _ in range(300):
            self.clock.advance(1.1)
        await turn(self.reactor)
        self.assertEqual((self.handler.gone, client.closed), (0, False))
        size = self.handler.size
        client.transport.write(b"x" * 1000)
        self.handler.request.body.resume()
        self.assertTrue(await self.until(lambda: self.handler.size > size))
        client.transport.abortConnection()
        self.assertTrue(await self.until(lambda: client.closed))
        self.clock.advance(1.1)
        self.assertTrue(await self.until(lambda: self.handler.gone == 1 and not self.factory.connections))


class HeldClientsTLS(HeldClients):
    """The same under TLS."""

    tls = True
