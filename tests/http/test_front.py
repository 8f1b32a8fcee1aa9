"""The fast front on real sockets."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.http.behaviour import FaceBehaviour, Listening, Pump
from tests.http.memory import Connected, memory_front
from tests.http.wire import Echo, get, post, real_world
from voidllm.core.interfaces import IResponder
from voidllm.http.front import FrontFactory


class FrontBehaviour(FaceBehaviour, Listening):
    """The common contract on the fast front."""

    def make_factory(self, reactor: Any, handler: Any) -> Any:
        return FrontFactory(real_world(reactor), handler)


class FrontSockets(Listening):
    """What only the fast front can do, and what only real sockets show."""

    def make_factory(self, reactor: Any, handler: Any) -> Any:
        return FrontFactory(real_world(reactor), handler)

    async def test_reply_before_the_body(self) -> None:
        """A client that sends a large body all at once can read the refusal of its key."""
        client = await self.client()
        client.transport.write(b"POST /v1/head HTTP/1.1\r\nHost: h\r\nContent-Length: 20000000\r\n\r\n")
        client.transport.write(b"x" * 20_000_000)
        (reply,) = await client.all()
        assert (reply.status, reply.headers["connection"]) == (401, "close")

    async def test_declared_gigabyte(self) -> None:
        """A gigabyte is refused when it is declared, before any of it is sent."""
        client = await self.client()
        client.transport.write(b"POST /v1/a HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000000\r\n\r\n")
        (reply,) = await client.all()
        assert (reply.status, reply.error["code"]) == (413, "request_too_large")

    async def test_chunked_over_the_limit(self) -> None:
        """A chunked body is refused once it has outgrown the limit."""
        client = await self.client()
        client.transport.write(b"POST /v1/a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(30):
            client.transport.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        (reply,) = await client.all()
        assert (reply.status, reply.error["code"]) == (413, "request_too_large")


class Front(SynchronousTestCase):
    """Details of the fast front, in memory."""

    def setUp(self) -> None:
        self.clock: Clock
        self.handler = Echo()
        self.clock, self.factory = memory_front(self.handler)
        self.connection = Connected(self.factory)

    def open(self, data: bytes) -> tuple[Any, Any]:
        """Send a request that stays open; give request and responder."""
        self.connection.feed(data)
        return self.handler.open[-1]

    def test_interface(self) -> None:
        """The responder provides what handlers expect."""
        verifyObject(IResponder, self.open(get(b"/v1/later"))[1])

    def test_continue_when_asked(self) -> None:
        """``100 Continue`` goes out when the handler asks for the body, and not before."""
        head = post(b"/v1/later", b"hello", b"Expect: 100-continue")[:-5]
        request, responder = self.open(head)
        assert self.connection.transport.value() == b""
        request.body.read(100, lambda body: responder.reply(200, [], body), None)
        assert self.connection.transport.value() == b"HTTP/1.1 100 Continue\r\n\r\n"
        self.connection.feed(b"hello")
        first, reply = self.connection.replies()
        assert (first.status, reply.body) == (100, b"hello")
        assert not self.connection.transport.closed

    def test_no_continue_after_a_refusal(self) -> None:
        """A reply without the body sends no ``100 Continue`` and closes."""
        self.connection.feed(post(b"/v1/head", b"hello", b"Expect: 100-continue")[:-5])
        (reply,) = self.connection.replies()
        assert (reply.status, reply.headers["connection"]) == (401, "close")
        assert self.connection.transport.half_closed

    def test_no_continue_when_it_is_there(self) -> None:
        """A body that came with its head needs no ``100 Continue``."""
        self.connection.feed(post(b"/v1/a", b"hello", b"Expect: 100-continue"))
        assert [reply.status for reply in self.connection.replies()] == [200]

    def test_small_rest_is_read_past(self) -> None:
        """After an early reply a small rest is thrown away and the connection serves on."""
        self.connection.feed(post(b"/v1/head", b"x" * 60_000)[:-59_000])
        (reply,) = self.connection.replies()
        assert reply.status == 401
        assert "connection" not in reply.headers
        self.connection.feed(b"GET /v1/hidden HTTP/1.1\r\n\r\n" + b"x" * (59_000 - 27), get(b"/v1/next"))
        assert self.handler.seen == [b"/v1/head", b"/v1/next"]

    def test_http_1_0_keep_alive(self) -> None:
        """HTTP/1.0 keeps the connection on request when the length is known, else closes."""
        self.connection.feed(b"GET /v1/a HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n")
        (reply,) = self.connection.replies()
        assert reply.headers["connection"] == "keep-alive"
        assert not self.connection.transport.closed
        self.connection.feed(b"GET /v1/stream HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n")
        assert self.connection.transport.disconnecting

    def test_handler_fails_after_the_head(self) -> None:
        """A handler that raises in the middle of its reply leaves it incomplete."""
        self.connection.feed(get(b"/v1/started"))
        assert self.connection.transport.value().endswith(b"4\r\nsome\r\n")
        assert self.connection.transport.disconnecting

    def test_failure_is_logged_without_text(self) -> None:
        """A handler's exception is logged once, with its place and without its text."""
        events: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        self.connection.feed(get(b"/v1/boom"))
        assert len(events) == 1
        text = str(events[0])
        assert "RuntimeError" in text
        assert "wire.py" in text
        assert "CANARY" not in text

    def test_failing_callback(self) -> None:
        """A handler that raises when its body is there gives a 500 too."""

        def boom(body: bytes) -> None:
            raise RuntimeError("CANARY")

        request, _ = self.open(post(b"/v1/later", b"hello")[:-1])
        request.body.read(10, boom, None)
        self.connection.feed(b"o")
        (reply,) = self.connection.replies()
        assert reply.status == 500
        assert self.factory.in_flight == 0

    def test_streamed_body(self) -> None:
        """A handler can take the body as it comes and hold the client back."""
        request, responder = self.open(post(b"/v1/later", b"x" * 30)[:-20])
        parts: list[bytes] = []
        request.body.stream(100, parts.append, lambda: responder.reply(200, [], b"ok"), None)
        assert parts == [b"x" * 10]
        request.body.pause()
        assert self.connection.transport.paused
        request.body.resume()
        self.connection.feed(b"x" * 20 + get(b"/v1/next"))
        assert parts == [b"x" * 10, b"x" * 20]
        assert [reply.status for reply in self.connection.replies()] == [200, 200]

    def test_reply_within_a_chunk(self) -> None:
        """A handler may reply while the body is streaming to it."""
        request, responder = self.open(post(b"/v1/later", b"x" * 100_000)[:-90_000])
        request.body.stream(
            1 << 20,
            lambda data: responder.reply(400, [], b"no") if not responder.closed else None,
            None,
            None,
        )
        (reply,) = self.connection.replies()
        assert (reply.status, reply.headers["connection"]) == (400, "close")

    def test_after_the_client_left(self) -> None:
        """Nothing that a handler does after its client has left has any effect."""
        request, responder = self.open(post(b"/v1/later", b"hello")[:-1])
        self.connection.leave()
        assert self.handler.gone == 1
        assert responder.closed
        request.body.read(10, None, None)
        request.body.stream(10, None, None, None)
        responder.reply(200, [], b"")
        responder.head(200, [])
        responder.chunk(b"x")
        responder.end()
        responder.abort()
        responder.register(self.handler)
        assert self.handler.gone == 2
        assert self.connection.transport.value() == b""
        assert self.clock.getDelayedCalls() == []

    def test_bodyless_statuses(self) -> None:
        """204 and 304 have neither body nor length."""
        self.open(get(b"/v1/later"))[1].reply(204, [], b"")
        (reply,) = self.connection.replies()
        assert "content-length" not in reply.headers
        responder = self.open(get(b"/v1/later"))[1]
        self.assertRaises(ValueError, responder.reply, 304, [], b"body")

    def test_header_injection(self) -> None:
        """A reply header with a line end in it is an error, not two headers."""
        responder = self.open(get(b"/v1/later"))[1]
        for name, value in [(b"a", b"b\r\nc: d"), (b"a\r\nb", b"c"), (b"a", b"b\nc"), (b"a", b"\0")]:
            self.assertRaises(ValueError, responder.reply, 200, [(name, value)], b"")
        responder.reply(200, [], b"")
        assert len(self.connection.replies()) == 1

    def test_one_write(self) -> None:
        """Head and body of a buffered reply are one write, also below TLS records."""
        writes: list[bytes] = []
        self.connection.protocol.send = writes.append
        self.connection.feed(post(b"/v1/a", b"hello"))
        assert len(writes) == 1

    def test_late_producer(self) -> None:
        """A producer registered while the client is slow begins paused."""
        responder = self.open(get(b"/v1/later"))[1]
        responder.head(200, [])
        self.connection.protocol.pauseProducing()
        pump = Pump.__new__(Pump)
        pump.paused = False
        responder.register(pump)
        assert pump.paused

    def test_two_client_request_ids(self) -> None:
        """Of two request ids the first counts; upper case comes back in lower case."""
        first = b"0190163D-8694-739B-AEA5-966C26F8AD91"
        second = b"0190163d-8694-739b-aea5-000000000000"
        self.connection.feed(get(b"/v1/a", b"X-Request-Id: " + first, b"X-Request-Id: " + second))
        assert self.connection.replies()[0].headers["x-request-id"] == first.decode().lower()

    def test_many_pipelined(self) -> None:
        """Thousands of requests in one segment need no stack."""
        self.connection.feed(get(b"/v1/a") * 5000)
        assert len(self.connection.replies()) == 5000

    def test_client_that_never_reads(self) -> None:
        """Nothing is begun for a client that does not take its replies, until it does."""
        self.connection.protocol.pauseProducing()
        self.connection.feed(get(b"/v1/a"))
        assert self.handler.seen == []
        while not self.connection.transport.paused:
            self.connection.feed(get(b"/v1/a") * 100)
        self.clock.pump([50.0] * 2)
        assert not self.connection.transport.closed
        self.connection.protocol.resumeProducing()
        assert not self.connection.transport.paused
        assert len(self.connection.replies()) > 1000
        self.clock.pump([30.0, 30.1])
        assert self.connection.transport.disconnecting

    def test_slow_download(self) -> None:
        """The idle time of a connection begins when its client has taken the reply."""
        self.connection.feed(get(b"/v1/a"))
        self.connection.protocol.pauseProducing()
        self.clock.pump([50.0, 50.0])
        self.connection.protocol.resumeProducing()
        self.clock.advance(59)
        assert not self.connection.transport.closed
        self.clock.advance(1.1)
        assert self.connection.transport.disconnecting

    def test_drain_waits_a_moment_for_a_silent_client(self) -> None:
        """A client that has just come and says nothing is closed after a second of the drain."""
        silent = Connected(self.factory)
        self.factory.drain()
        self.clock.advance(0.9)
        assert not silent.transport.disconnecting
        self.clock.advance(0.2)
        assert silent.transport.disconnecting

    def test_drain_details(self) -> None:
        """Draining may be asked for again; a half-read head is still answered, with close."""
        self.connection.feed(get(b"/v1/a"))
        reading = Connected(self.factory)
        reading.feed(get(b"/v1/a")[:10])
        drained: list[None] = []
        self.factory.drained().addCallback(drained.append)
        self.factory.drain()
        self.factory.drain()
        assert self.connection.transport.disconnecting
        assert not reading.transport.closed
        reading.feed(get(b"/v1/a")[10:] + get(b"/v1/dropped"))
        (reply,) = reading.replies()
        assert (reply.status, reply.headers["connection"]) == (200, "close")
        self.connection.leave()
        assert drained == []
        reading.leave()
        assert drained == [None]
