"""Upstreams behind a proxy, and how the environment names one."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.protocol import ClientFactory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.http.certs import Authority, ServerTLS
from tests.http.rawserver import RawServer, Recorder, ask, ok, real_world
from voidllm.core.model import UpstreamTLS
from voidllm.http.pool import UpstreamPool
from voidllm.http.pool_settings import PoolSettings
from voidllm.http.resolve import Resolver
from voidllm.http.tunnel import ProxyRefused, Tunnel, proxy_address
from voidllm.http.upstream import Origin


class _Far(Protocol):
    """The far side of a tunnel."""

    def __init__(self, near: Any) -> None:
        self._near = near

    def connectionMade(self) -> None:
        self._near.joined(self.transport)

    def dataReceived(self, data: bytes) -> None:
        self._near.transport.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._near.transport.loseConnection()


class _Near(Protocol):
    """A CONNECT proxy's connection: one request, then bytes both ways."""

    transport: Any

    def __init__(self, proxy: TunnelProxy) -> None:
        self._proxy = proxy
        self._buffer = b""
        self._far: Any = None

    def joined(self, far: Any) -> None:
        self._far = far
        self._proxy.live += 1
        self.transport.write(b"HTTP/1.1 200 Connection established\r\nX-Proxy: yes\r\n\r\n")

    def dataReceived(self, data: bytes) -> None:
        if self._far is not None:
            self._far.write(data)
            return
        self._buffer += data
        if b"\r\n\r\n" in self._buffer:
            self._proxy.heads.append(self._buffer)
            factory: Any = ClientFactory()
            factory.noisy = False
            factory.buildProtocol = lambda _: _Far(self)
            reactor.connectTCP("127.0.0.1", self._proxy.target, factory)  # type: ignore[attr-defined]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._far is not None:
            self._proxy.live -= 1
            self._far.loseConnection()


class TunnelProxy(ClientFactory):
    """A proxy that connects everything to one port of this machine."""

    noisy = False

    def __init__(self, target: int) -> None:
        self.target = target
        self.heads: list[bytes] = []
        self.live = 0
        self.listening = reactor.listenTCP(0, self, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.port = self.listening.getHost().port

    def buildProtocol(self, addr: Any) -> Protocol:
        """Make a connection's near side."""
        return _Near(self)


class ProxyTests(TestCase):
    """A pool that goes through a proxy."""

    timeout = 15

    def setUp(self) -> None:
        """Make a pool that can resolve the proxy's name only."""

        def lookup(host: str) -> list[str]:
            if host != "proxy.example":
                raise OSError("no such name")
            return ["127.0.0.1"]

        world = real_world(reactor)
        self.pool = UpstreamPool(world, PoolSettings(tick_s=0.05), resolver=Resolver(world, lookup))
        self.closers: list[Any] = []

    async def tearDown(self) -> None:
        """Nothing is left."""
        await self.pool.close()
        self.assertEqual(self.pool.open, 0)
        for close in self.closers:
            await close()

    def raw(self, *more: Any) -> RawServer:
        """Start a scripted server."""
        server = RawServer(reactor, *more)
        self.closers.append(server.stop)
        return server

    def call(self, scheme: str, proxy_port: int, tls: UpstreamTLS, credentials: str = "") -> Recorder:
        """Send a call to llm.example through the proxy."""
        proxy_url = f"http://{credentials}proxy.example:{proxy_port}"
        origin = Origin(scheme, "llm.example", 443 if scheme == "https" else 80, tls, proxy_url)
        sink = Recorder()
        sink.call = self.pool.call(ask(0, origin=origin), sink)
        return sink

    async def test_tls_through_connect(self) -> None:
        """An https origin is reached by CONNECT, by name, with credentials for the proxy only."""
        authority = Authority(self.mktemp())
        server = self.raw(ServerTLS(*authority.issue("llm.example")))
        server.answer(ok(b"through"))
        proxy = TunnelProxy(server.port)
        self.closers.append(proxy.listening.stopListening)
        tls = UpstreamTLS(ca_file=authority.ca_file)
        for _ in range(2):
            sink = self.call("https", proxy.port, tls, "us%20er:p%40ss@")
            self.assertEqual((await sink.end(), sink.body), ("finished", b"through"))
        self.assertEqual(
            proxy.heads,
            [
                b"CONNECT llm.example:443 HTTP/1.1\r\nhost: llm.example:443\r\n"
                b"proxy-authorization: Basic dXMgZXI6cEBzcw==\r\n\r\n"
            ],
        )
        self.assertNotIn(b"proxy-auth", server.requests[0][0].lower())

    async def test_certificate_is_checked_through_the_tunnel(self) -> None:
        """A proxy that ends the tunnel at another server is found out."""
        authority = Authority(self.mktemp())
        server = self.raw(ServerTLS(*authority.issue("evil.example")))
        proxy = TunnelProxy(server.port)
        self.closers.append(proxy.listening.stopListening)
        sink = self.call("https", proxy.port, UpstreamTLS(ca_file=authority.ca_file))
        self.assertEqual(await sink.end(), "tls")

    async def test_proxy_that_refuses(self) -> None:
        """Any answer but 2xx, or bytes behind it, is a proxy failure."""
        for reply in (
            b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 502 Bad\r\n\r\n",
            b"nonsense\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\nsurplus",
            b"HTTP/1.1 200 OK\r\nX: " + b"y" * (20 << 10),
        ):
            server = self.raw()
            sink = self.call("https", server.port, UpstreamTLS())
            peer = await server.accept()
            await peer.request()
            peer.write(reply)
            self.assertEqual(await sink.end(), "proxy", reply[:40])
            assert sink.failure is not None
            self.assertFalse(sink.failure.sent)
            await peer.lost()

    async def test_proxy_that_closes(self) -> None:
        """A proxy that closes instead of answering is a proxy failure."""
        server = self.raw()
        sink = self.call("https", server.port, UpstreamTLS())
        (await server.accept()).close()
        self.assertEqual(await sink.end(), "proxy")

    async def test_proxy_that_is_not_there(self) -> None:
        """A proxy that cannot be reached, or found, is a proxy failure."""
        server = RawServer(reactor)
        await server.stop()
        self.assertEqual(await self.call("https", server.port, UpstreamTLS()).end(), "proxy")
        origin = Origin("https", "llm.example", 443, UpstreamTLS(), "http://unknown.example:1")
        sink = Recorder()
        self.pool.call(ask(0, origin=origin), sink)
        self.assertEqual(await sink.end(), "proxy")

    async def test_cancel_in_dialogue(self) -> None:
        """A call cancelled while the proxy thinks closes the connection."""
        server = self.raw()
        sink = self.call("https", server.port, UpstreamTLS())
        peer = await server.accept()
        await peer.request()
        sink.call.cancel()
        await peer.lost()
        self.assertEqual(sink.events, [])

    async def test_plain_http_uses_absolute_form(self) -> None:
        """An http origin is asked for in absolute form, with the proxy's credentials."""
        proxy = self.raw()
        proxy.answer(ok(b"plain"))
        sink = self.call("http", proxy.port, UpstreamTLS(), "u:p@")
        self.assertEqual((await sink.end(), sink.body), ("finished", b"plain"))
        head = proxy.requests[0][0]
        self.assertTrue(head.startswith(b"POST http://llm.example/v1/x HTTP/1.1\r\nhost: llm.example\r\n"))
        self.assertIn(b"\r\nproxy-authorization: Basic dTpw\r\n", head)

    async def test_plain_http_407(self) -> None:
        """A proxy that wants other credentials is a proxy failure, not the upstream's reply."""
        proxy = self.raw()
        proxy.answer(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n")
        self.assertEqual(await self.call("http", proxy.port, UpstreamTLS()).end(), "proxy")


class TunnelTests(SynchronousTestCase):
    """The dialogue by itself."""

    def test_any_split(self) -> None:
        """The answer may come byte by byte."""
        tunnel = Tunnel("http://p", "::1", 443)
        self.assertTrue(tunnel.request.startswith(b"CONNECT [::1]:443 HTTP/1.1\r\n"))
        answers = [tunnel.feed(bytes([byte])) for byte in b"HTTP/1.0 200 Yes\r\nA: b\r\n\r\n"]
        self.assertEqual(answers, [False] * (len(answers) - 1) + [True])

    def test_refusal(self) -> None:
        """A refusal is raised."""
        with self.assertRaises(ProxyRefused):
            Tunnel("http://p", "a", 443).feed(b"HTTP/1.1 403 No\r\n\r\n")

    def test_proxy_address(self) -> None:
        """Only http proxies are supported."""
        self.assertEqual(proxy_address("http://u:p@proxy:3128"), ("proxy", 3128))
        self.assertEqual(proxy_address("http://proxy"), ("proxy", 80))
        for url in ("https://proxy", "socks5://proxy", "proxy:80", "http://"):
            with self.assertRaises(ValueError):
                proxy_address(url)
