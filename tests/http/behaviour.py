"""What both faces of the gateway must do alike; subclasses say which face listens."""

from __future__ import annotations

from typing import Any

import ujson
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from tests.http.wire import DATE, Echo, RawClient, Reply, connect, get, post

UUID = "0190163d-8694-739b-aea5-966c26f8ad91"


class Listening(TestCase):
    """Listens on a free port and closes everything afterwards."""

    def make_factory(self, reactor: Any, handler: Any) -> Any:
        """Make the factory under test."""
        raise NotImplementedError

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor = reactor
        self.handler = Echo()
        self.factory = self.make_factory(reactor, self.handler)
        self.port = reactor.listenTCP(0, self.factory, interface="127.0.0.1")
        self.clients: list[RawClient] = []
        self.addCleanup(self.close_all)

    async def close_all(self) -> None:
        """Close clients first, so that nothing of a connection outlives the test."""
        for client in self.clients:
            if not client.closed:
                client.transport.abortConnection()
                await client.until(lambda: False)
        self.factory.drain()
        self.factory.abort_all()
        await self.factory.drained()
        await self.port.stopListening()

    async def client(self) -> RawClient:
        """Connect."""
        client = await connect(self.reactor, self.port.getHost().port)
        self.clients.append(client)
        return client

    async def send(self, *segments: bytes) -> list[Reply]:
        """Send on a new connection and take every reply until the server closes it."""
        client = await self.client()
        for segment in segments:
            client.transport.write(segment)
        return await client.all()


class FaceBehaviour:
    """The contract of a face. Mix in before :class:`Listening`."""

    async def test_get(self: Any) -> None:
        """A GET gives the handler method, path and query, and its reply is complete."""
        (reply,) = await self.send(get(b"/v1/a?x=1?y", b"Connection: close"))
        assert reply.status == 200
        told = ujson.loads(reply.body)
        assert (told["method"], told["path"], told["query"]) == ("GET", "/v1/a", "x=1?y")
        assert told["client"] == "127.0.0.1"
        assert DATE.match(reply.headers["date"])
        assert "server" not in reply.headers
        assert reply.headers["x-request-id"] == told["id"]
        assert len(set(reply.names)) == len(reply.names), reply.names

    async def test_post_and_keep_alive(self: Any) -> None:
        """Requests after each other on one connection are each answered with their own body."""
        client = await self.client()
        for number in range(3):
            client.transport.write(post(b"/v1/a", b"body %d" % number))
            (reply,) = await client.get()
            assert b'"body %d"' % number in reply.body
        assert not client.closed

    async def test_pipelining_in_order(self: Any) -> None:
        """Pipelined requests in one segment are answered in order."""
        data = b"".join(post(b"/v1/%d" % n, b"b%d" % n) for n in range(5))
        replies = await self.send(data + post(b"/v1/z", b"", b"Connection: close"))
        paths = [ujson.loads(r.body)["path"] for r in replies]
        assert paths == ["/v1/0", "/v1/1", "/v1/2", "/v1/3", "/v1/4", "/v1/z"]

    async def test_chunked_request(self: Any) -> None:
        """A chunked body with extension and trailer is decoded and the next request found."""
        head = b"POST /v1/a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        body = b"3;a=b\r\nabc\r\n4\r\ndefg\r\n0\r\nX-T: 1\r\n\r\n"
        first, second = await self.send(head + body + get(b"/v1/b", b"Connection: close"))
        assert b'"abcdefg"' in first.body
        assert b"b" in second.body

    async def test_byte_by_byte(self: Any) -> None:
        """A request that comes one byte at a time is understood."""
        data = post(b"/v1/a", b"hello", b"Connection: close")
        (reply,) = await self.send(*[data[at : at + 1] for at in range(len(data))])
        assert b'"hello"' in reply.body

    async def test_streamed_reply(self: Any) -> None:
        """A reply of unknown length is chunked and the connection stays."""
        client = await self.client()
        client.transport.write(post(b"/v1/stream", b"abcdefghijkl"))
        (reply,) = await client.get()
        assert reply.headers["transfer-encoding"] == "chunked"
        assert reply.body == b"abcdefghijkl"
        client.transport.write(get(b"/v1/b"))
        (reply,) = await client.get()
        assert reply.status == 200

    async def test_http_1_0(self: Any) -> None:
        """HTTP/1.0 gets a reply in its version, without chunks, and the connection closes."""
        (reply,) = await self.send(b"POST /v1/stream HTTP/1.0\r\nContent-Length: 6\r\n\r\nabcdef")
        assert reply.version == "HTTP/1.0"
        assert "transfer-encoding" not in reply.headers
        assert reply.body == b"abcdef"
        (reply,) = await self.send(b"GET /v1/a HTTP/1.0\r\n\r\n")
        assert reply.status == 200
        assert int(reply.headers["content-length"]) == len(reply.body)

    async def test_head(self: Any) -> None:
        """HEAD is answered with the length and without the body."""
        client = await self.client()
        client.transport.write(b"HEAD /v1/a HTTP/1.1\r\nHost: h\r\n\r\n")
        (reply,) = await client.get(head_only=True)
        assert int(reply.headers["content-length"]) > 0
        client.transport.write(get(b"/v1/b"))
        (reply,) = await client.get()
        assert b"/v1/b" in reply.body.replace(b"\\", b"")

    async def test_request_id(self: Any) -> None:
        """A UUID of the client comes back; anything else is replaced."""
        (reply,) = await self.send(get(b"/v1/a", b"X-Request-Id: " + UUID.encode(), b"Connection: close"))
        assert reply.headers["x-request-id"] == UUID
        (reply,) = await self.send(get(b"/v1/a", b"X-Request-Id: me", b"Connection: close"))
        assert len(reply.headers["x-request-id"]) == 36

    async def test_upgrade_is_ignored(self: Any) -> None:
        """An offer to upgrade is not taken; bodies and following requests are read as ever."""
        upgrade = (b"Upgrade: h2c", b"Connection: Upgrade, HTTP2-Settings", b"HTTP2-Settings: AAMAAABk")
        data = post(b"/v1/a", b"abc", *upgrade) + get(b"/v1/b", b"Upgrade: websocket", b"Connection: upgrade")
        replies = await self.send(data + get(b"/v1/c", b"Connection: close"))
        assert [r.status for r in replies] == [200, 200, 200]
        assert b'"abc"' in replies[0].body

    async def test_absolute_form(self: Any) -> None:
        """A target in absolute form means its path."""
        request = b"GET http://other/v1/a?q HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
        (reply,) = await self.send(request)
        assert b"/v1/a" in reply.body.replace(b"\\", b"")

    async def test_body_over_the_limit(self: Any) -> None:
        """A body over the limit is a 413 in JSON, declared or chunked."""
        self.handler.limit = 10
        request = b"POST /v1/a HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000000\r\n\r\n"
        (reply,) = await self.send(request)
        assert (reply.status, reply.error["code"]) == (413, "request_too_large")
        assert reply.headers["connection"] == "close"

    async def test_compressed_body(self: Any) -> None:
        """A compressed request body is a 415 in JSON."""
        (reply,) = await self.send(post(b"/v1/a", b"x", b"Content-Encoding: gzip"))
        assert (reply.status, reply.error["code"]) == (415, "unsupported_content_encoding")

    async def test_handler_failure(self: Any) -> None:
        """A handler that raises gives a 500 in JSON and a log line without its text."""
        (reply,) = await self.send(get(b"/v1/boom", b"Connection: close"))
        assert (reply.status, reply.error["type"]) == (500, "server_error")
        assert b"CANARY" not in reply.body

    async def test_client_leaves_while_waiting(self: Any) -> None:
        """A client that leaves before any reply stops the work for it."""
        client = await self.client()
        client.transport.write(get(b"/v1/later"))
        while not self.handler.open:
            await turn(self.reactor)
        client.transport.abortConnection()
        while not self.handler.gone:
            await turn(self.reactor)
        self.handler.open[0][1].reply(200, [], b"nobody hears")
        assert self.factory.in_flight == 0

    async def test_drain(self: Any) -> None:
        """Draining closes idle connections and answers running requests with close."""
        idle, busy = await self.client(), await self.client()
        idle.transport.write(get(b"/v1/a"))
        await idle.get()
        busy.transport.write(get(b"/v1/later"))
        while not self.handler.open:
            await turn(self.reactor)
        self.factory.drain()
        await idle.until(lambda: False)
        assert self.factory.in_flight == 1
        drained = self.factory.drained()
        assert not drained.called
        self.handler.open[0][1].reply(200, [], b"last")
        (reply,) = await busy.all()
        assert (reply.headers["connection"], reply.body) == ("close", b"last")
        await drained

    async def test_drain_hears_who_has_just_come(self: Any) -> None:
        """A client that connected before the drain, or during it, has its request answered, with close."""
        before = await self.client()
        while not self.factory.connections:
            await turn(self.reactor)
        self.factory.drain()
        drained = self.factory.drained()
        during = await self.client()
        for client in (before, during):
            assert not drained.called
            client.transport.write(get(b"/v1/a"))
            (reply,) = await client.all()
            assert (reply.status, reply.headers["connection"]) == (200, "close")
        await drained

    async def test_backpressure(self: Any) -> None:
        """A client that does not read pauses the producer; reading on, it gets every byte."""
        client = await self.client()
        client.transport.write(get(b"/v1/later"))
        while not self.handler.open:
            await turn(self.reactor)
        client.transport.pauseProducing()
        pump = Pump(self.handler.open[0][1], 30_000_000)
        pump.run()
        assert pump.paused
        assert pump.left > 10_000_000
        parts: list[bytes] = []
        over = Deferred()

        def take(data: bytes) -> None:
            parts.append(data)
            if data.endswith(b"\r\n0\r\n\r\n"):
                over.callback(None)

        client.dataReceived = take
        client.transport.resumeProducing()
        await over
        assert b"".join(parts).count(b"x") == 30_000_000

    async def test_client_leaves_a_stream(self: Any) -> None:
        """A client that leaves in the middle of a stream stops the producer."""
        client = await self.client()
        client.transport.write(get(b"/v1/later"))
        while not self.handler.open:
            await turn(self.reactor)
        pump = Pump(self.handler.open[0][1], 10**9)
        client.transport.abortConnection()
        while not pump.gone:
            await turn(self.reactor)
        assert self.factory.in_flight == 0

    async def test_abort_keeps_what_was_sent(self: Any) -> None:
        """An aborted chunked reply arrives as far as it was sent, and without its end."""
        client = await self.client()
        client.transport.write(get(b"/v1/later"))
        while not self.handler.open:
            await turn(self.reactor)
        responder = self.handler.open[0][1]
        responder.head(200, [])
        responder.chunk(b"data: error")
        responder.abort()
        await client.until(lambda: False)
        assert client.received.endswith(b"data: error\r\n")

    async def test_abort_of_an_old_reply(self: Any) -> None:
        """An aborted HTTP/1.0 reply is reset, because its end would look complete."""
        client = await self.client()
        client.transport.write(b"GET /v1/later HTTP/1.0\r\n\r\n")
        while not self.handler.open:
            await turn(self.reactor)
        responder = self.handler.open[0][1]
        responder.head(200, [])
        responder.chunk(b"part")
        responder.abort()
        await client.until(lambda: False)
        assert client.reason.type.__name__ == "ConnectionLost"

    async def test_abort_all(self: Any) -> None:
        """Dropping every connection tells each handler that its client is gone."""
        clients = [await self.client() for _ in range(3)]
        for client in clients:
            client.transport.write(get(b"/v1/later"))
        while len(self.handler.open) < 3:
            await turn(self.reactor)
        self.factory.abort_all()
        for client in clients:
            await client.until(lambda: False)
        assert self.handler.gone == 3
        assert self.factory.in_flight == 0


@implementer(IPushProducer)
class Pump:
    """Sends chunks as fast as it is let, up to a number of bytes."""

    def __init__(self, responder: Any, total: int) -> None:
        self.responder = responder
        self.left = total
        self.sent_before_pause = 0
        self.paused = False
        self.gone = False
        responder.head(200, [])
        responder.register(self)

    def run(self) -> None:
        """Send until paused or complete."""
        while self.left and not self.paused and not self.gone:
            self.responder.chunk(b"x" * 10_000)
            self.left -= 10_000
        if not self.left:
            self.responder.end()

    def pauseProducing(self) -> None:
        """Stop."""
        self.paused = True

    def resumeProducing(self) -> None:
        """Go on."""
        self.paused = False
        self.run()

    def stopProducing(self) -> None:
        """The client is gone."""
        self.gone = True


async def turn(reactor: Any) -> None:
    """Let the reactor run once."""
    from twisted.internet.task import deferLater

    await deferLater(reactor, 0, lambda: None)
