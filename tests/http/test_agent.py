"""The pool as an ``IAgent``."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from twisted.internet import defer, reactor
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.client import FileBodyProducer, ResponseDone, ResponseFailed, readBody
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IResponse
from zope.interface.verify import verifyObject

from tests.http.engine_behaviour import Flood
from tests.http.rawserver import RawServer, ok, real_world
from voidllm.http.agent import CallPolicy, PoolAgent, UpstreamError
from voidllm.http.lazy_headers import LazyHeaders
from voidllm.http.pool import UpstreamPool
from voidllm.http.pool_settings import PoolSettings
from voidllm.http.upstream import Origin


class Collector(Protocol):
    """Keeps a body and its end."""

    transport: Any

    def __init__(self) -> None:
        self.data = b""
        self.ended: defer.Deferred[Failure] = defer.Deferred()

    def dataReceived(self, data: bytes) -> None:
        """Keep it."""
        self.data += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Keep the reason."""
        self.ended.callback(reason.value)


class AgentTests(TestCase):
    """An agent against a scripted server."""

    timeout = 10

    def setUp(self) -> None:
        """Start a server and an agent."""
        self.server = RawServer(reactor)
        self.pool = UpstreamPool(real_world(reactor), PoolSettings(tick_s=0.02))
        self.agent = PoolAgent(self.pool)

    async def tearDown(self) -> None:
        """Close both."""
        for call in list(self.pool._live):
            call.cancel()
        await self.pool.close()
        await self.server.stop()

    def get(self, path: bytes = b"/x?y=1", **more: Any) -> defer.Deferred[Any]:
        """Send a GET."""
        uri = b"http://127.0.0.1:%d%b" % (self.server.port, path)
        return self.agent.request(b"GET", uri, **more)

    async def test_response(self) -> None:
        """A response says all that Twisted's own says."""
        self.server.answer(ok(b"hello", b"X-B: 1", b"X-B: 2"))
        verifyObject(IAgent, self.agent)
        response = await self.get(headers=Headers({b"X-A": [b"1", b"2"]}))
        verifyObject(IResponse, response)
        self.assertEqual((response.code, response.phrase, response.length), (200, b"OK", 5))
        self.assertEqual(response.version, (b"HTTP", 1, 1))
        self.assertEqual(response.headers.getRawHeaders(b"X-B"), [b"1", b"2"])
        self.assertEqual(response.request.method, b"GET")
        self.assertIsNone(response.previousResponse)
        self.assertEqual(await readBody(response), b"hello")
        head = self.server.requests[0][0]
        self.assertTrue(head.startswith(b"GET /x?y=1 HTTP/1.1\r\n"))
        self.assertEqual(head.lower().count(b"\r\nx-a: "), 2)

    async def test_connections_are_shared_with_the_pool(self) -> None:
        """The agent's connections are the pool's."""
        self.server.answer(ok())
        for _ in range(3):
            await readBody(await self.get())
        self.assertEqual((self.pool.connects, self.pool.reuses), (1, 2))

    async def test_body_waits_for_its_reader(self) -> None:
        """Until somebody wants the body, the upstream is held back."""
        self.server.script = lambda peer, head, body: peer.write(
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (8 << 20)
        )
        response = await self.get()
        peer = self.server.peers[0]
        flood = Flood(peer.transport, 8 << 20)
        peer.transport.registerProducer(flood, True)
        flood.resumeProducing()
        while not flood.paused:
            await defer.Deferred.fromCoroutine(_turn())
        collector = Collector()
        response.deliverBody(collector)
        self.assertIsInstance(await collector.ended, ResponseDone)
        self.assertEqual(len(collector.data), 8 << 20)

    async def test_whole_reply_before_its_reader(self) -> None:
        """A reply that came in one segment is there when it is asked for later."""
        self.server.answer(ok(b"all"))
        response = await self.get()
        await defer.Deferred.fromCoroutine(_turn())
        collector = Collector()
        response.deliverBody(collector)
        self.assertIsInstance(await collector.ended, ResponseDone)
        self.assertEqual(collector.data, b"all")
        with self.assertRaises(RuntimeError):
            response.deliverBody(Collector())

    async def test_ends(self) -> None:
        """A body that ended with the connection may be short; a cut one is."""
        for reply, end in (
            (b"HTTP/1.1 200 OK\r\n\r\nhi", PotentialDataLoss),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi", ResponseFailed),
            (b"HTTP/1.1 204 No Content\r\n\r\n", ResponseDone),
        ):

            def script(peer: Any, head: bytes, body: bytes, reply: bytes = reply) -> None:
                peer.write(reply)
                peer.close()

            self.server.script = script
            collector = Collector()
            (await self.get()).deliverBody(collector)
            reason: Any = await collector.ended
            self.assertIsInstance(reason, end)
            if end is ResponseFailed:
                self.assertEqual(reason.reasons[0].value.failure.kind, "cut")

    async def test_no_response(self) -> None:
        """A call without a reply fails with its kind."""
        self.server.script = lambda peer, head, body: peer.close()
        error = await self.assertFailure(self.get(), UpstreamError)
        self.assertEqual(error.failure.kind, "cut")

    async def test_cancel(self) -> None:
        """Cancelling the request closes its connection."""
        waiting = self.get()
        peer = await self.server.accept()
        await peer.request()
        waiting.cancel()
        await peer.lost()
        await self.assertFailure(waiting, defer.CancelledError)

    async def test_reader_stops(self) -> None:
        """A body's reader may close the connection, and hears of the end after that."""
        self.server.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi")
        collector = Collector()
        (await self.get()).deliverBody(collector)
        collector.transport.loseConnection()
        self.assertFalse(collector.ended.called)
        self.assertIsInstance(await collector.ended, ResponseFailed)
        await self.server.peers[0].lost()

    async def test_produced_body(self) -> None:
        """Any ``IBodyProducer`` can be sent."""
        self.server.answer(ok())
        producer = FileBodyProducer(BytesIO(b"x" * 200_000))
        uri = b"http://127.0.0.1:%d/" % self.server.port
        await readBody(await self.agent.request(b"POST", uri, None, producer))
        self.assertEqual(self.server.requests[0][1], b"x" * 200_000)

    async def test_bad_requests(self) -> None:
        """What cannot be requested fails, and nothing is sent."""
        for uri in (b"ftp://127.0.0.1/", b"http://user:pw@127.0.0.1/", b"http:///x", b"/x"):
            await self.assertFailure(self.agent.request(b"GET", uri), ValueError)
        await self.assertFailure(self.agent.request(b"GE T", b"http://127.0.0.1/"), ValueError)
        self.assertEqual(self.pool.connects, 0)

    async def test_policy(self) -> None:
        """The policy says where to go and how long to wait."""
        origin = Origin("http", "127.0.0.1", self.server.port)
        agent = PoolAgent(self.pool, CallPolicy(origin=origin)).with_policy(head_timeout_s=0.05)
        waiting = agent.request(b"GET", b"http://nowhere.example/y")
        peer = await self.server.accept()
        self.assertIn(b"GET /y ", (await peer.request())[0])
        error = await self.assertFailure(waiting, UpstreamError)
        self.assertEqual(error.failure.kind, "head_timeout")

    async def test_proxy_for(self) -> None:
        """The policy may name a proxy for each origin."""
        asked: list[tuple[str, str, int]] = []

        def proxy_for(scheme: str, host: str, port: int) -> str:
            asked.append((scheme, host, port))
            return f"http://127.0.0.1:{self.server.port}"

        self.server.answer(ok())
        agent = PoolAgent(self.pool, CallPolicy(proxy_for=proxy_for))
        await readBody(await agent.request(b"GET", b"http://far.example/z"))
        self.assertEqual(asked, [("http", "far.example", 80)])
        self.assertTrue(self.server.requests[0][0].startswith(b"GET http://far.example/z "))


async def _turn() -> None:
    """Let the reactor look once at what has come."""
    waiter: defer.Deferred[None] = defer.Deferred()
    reactor.callLater(0, waiter.callback, None)  # type: ignore[attr-defined]
    await waiter


class LazyHeadersTests(SynchronousTestCase):
    """Reply headers are Twisted's, only later."""

    def headers(self) -> LazyHeaders:
        """Make some."""
        return LazyHeaders([(b"x-a", b"1"), (b"content-type", b"t"), (b"x-a", b"2")])

    def test_lookups(self) -> None:
        """A lookup takes names of any case, bytes or text."""
        for headers in (self.headers(), self.headers().copy()):
            self.assertEqual(headers.getRawHeaders(b"X-A"), [b"1", b"2"])
            self.assertEqual(headers.getRawHeaders("x-a"), ["1", "2"])
            self.assertIsNone(headers.getRawHeaders(b"x-b"))
            self.assertTrue(headers.hasHeader("X-a"))
            self.assertFalse(headers.hasHeader("X-b"))

    def test_changes(self) -> None:
        """They can be changed as any."""
        headers = self.headers()
        headers.removeHeader(b"x-none")
        headers.removeHeader(b"x-a")
        headers.addRawHeader(b"x-c", b"3")
        headers.setRawHeaders(b"x-d", [b"4"])
        self.assertEqual(headers, Headers({b"content-type": [b"t"], b"x-c": [b"3"], b"x-d": [b"4"]}))
        self.assertEqual(sorted(headers.pairs())[0], (b"content-type", b"t"))

    def test_all(self) -> None:
        """They can be listed."""
        self.assertEqual(dict(self.headers().getAllRawHeaders())[b"X-A"], [b"1", b"2"])
