"""The fast front and time: slow clients end, and no timer stays behind."""

from __future__ import annotations

import gc
import weakref
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.http.memory import Connected, memory_front
from tests.http.wire import Echo, get, post
from voidllm.http.body import MAX_UNASKED


class Times(SynchronousTestCase):
    """Every timeout of the front, on a simulated clock."""

    def setUp(self) -> None:
        self.handler = Echo()
        self.clock, self.factory = memory_front(self.handler)

    def connect(self) -> Connected:
        return Connected(self.factory)

    def assert_clean(self, *connections: Connected) -> None:
        """Nothing is left once the clients are gone."""
        for connection in connections:
            connection.leave()
        assert self.clock.getDelayedCalls() == []
        assert self.factory.connections == set()
        assert self.factory.in_flight == 0

    def test_idle(self) -> None:
        """A connection without a request is closed silently after the idle time, not before."""
        fresh, used = self.connect(), self.connect()
        used.feed(get(b"/v1/a"))
        used.transport.clear()
        self.clock.pump([10.0] * 5 + [9.9])
        assert not fresh.transport.closed
        self.clock.advance(0.2)
        assert fresh.transport.disconnecting
        assert used.transport.disconnecting
        assert fresh.transport.value() == used.transport.value() == b""
        self.assert_clean(fresh, used)

    def test_idle_time_moves(self) -> None:
        """Each request begins the idle time anew."""
        connection = self.connect()
        for _ in range(5):
            self.clock.pump([10.0] * 5)
            connection.feed(get(b"/v1/a"))
        assert not connection.transport.closed
        assert len(connection.replies()) == 5
        self.assert_clean(connection)

    def test_slow_head(self) -> None:
        """A head that drips in ends at an absolute moment with a 408, however it drips."""
        connection = self.connect()
        self.clock.advance(7)
        for byte in get(b"/v1/a")[:18]:
            connection.feed(bytes([byte]))
            self.clock.advance(0.5)
        assert not connection.transport.closed
        self.clock.advance(1.1)
        (reply,) = connection.replies()
        assert (reply.status, reply.error["code"]) == (408, "request_timeout")
        assert reply.headers["connection"] == "close"
        assert connection.transport.half_closed
        self.assert_clean(connection)

    def test_slow_body(self) -> None:
        """A body may take long but not stand still; then it is a 408."""
        connection = self.connect()
        connection.feed(post(b"/v1/a", b"x" * 100)[:-100])
        for _ in range(50):
            self.clock.advance(29)
            connection.feed(b"x")
        assert connection.transport.value() == b""
        self.clock.advance(30.1)
        (reply,) = connection.replies()
        assert (reply.status, reply.error["code"]) == (408, "request_timeout")
        self.assert_clean(connection)

    def test_no_timeout_while_waiting(self) -> None:
        """Nothing expires while the handler works on a complete request."""
        connection = self.connect()
        connection.feed(get(b"/v1/later"))
        self.clock.pump([100.0] * 20)
        assert not connection.transport.closed
        self.handler.open[0][1].reply(200, [], b"late")
        assert connection.replies()[0].body == b"late"
        self.assert_clean(connection)

    def test_no_body_timeout_while_paused(self) -> None:
        """While the handler itself holds the body back, the client is not blamed."""
        connection = self.connect()
        connection.feed(post(b"/v1/later", b"x" * 100)[:-50])
        request, responder = self.handler.open[0]
        parts: list[bytes] = []
        request.body.stream(1000, parts.append, lambda: responder.reply(200, [], b"ok"), None)
        request.body.pause()
        assert connection.transport.paused
        self.clock.pump([100.0] * 3)
        request.body.resume()
        assert not connection.transport.paused
        self.clock.advance(29)
        connection.feed(b"x" * 50)
        assert b"".join(parts) == b"x" * 100
        assert connection.replies()[0].body == b"ok"
        self.assert_clean(connection)

    def test_client_does_not_read(self) -> None:
        """A client that takes no byte of its reply is dropped after the write time."""
        connection = self.connect()
        connection.feed(get(b"/v1/later"))
        responder = self.handler.open[0][1]
        responder.head(200, [])
        connection.protocol.pauseProducing()
        self.clock.pump([60.0, 59.0])
        connection.protocol.resumeProducing()
        self.clock.pump([60.0] * 4)
        assert not connection.transport.disconnected
        connection.protocol.pauseProducing()
        self.clock.pump([60.0, 60.1])
        assert connection.transport.disconnected
        connection.leave()
        assert self.handler.gone == 1
        self.assert_clean(connection)

    def test_lingering_is_bounded(self) -> None:
        """After an early refusal input is thrown away until silence, the end, or a limit."""
        for drip, seconds in [(None, 2.0), (b"x", 15.0)]:
            connection = self.connect()
            connection.feed(b"POST /v1/head HTTP/1.1\r\nHost: h\r\nContent-Length: 10000000\r\n\r\n")
            (reply,) = connection.replies()
            assert (reply.status, reply.headers["connection"]) == (401, "close")
            assert connection.transport.half_closed
            elapsed = 0.0
            while elapsed < seconds:
                assert not connection.transport.disconnecting
                if drip:
                    connection.feed(drip)
                self.clock.advance(0.5)
                elapsed += 0.5
            assert connection.transport.disconnecting
            connection.leave()
        connection = self.connect()
        connection.feed(b"POST /v1/head HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000000\r\n\r\n")
        for _ in range(65):
            connection.feed(b"x" * (1 << 20))
        assert connection.transport.disconnecting
        self.assert_clean(connection)

    def test_closing_is_bounded(self) -> None:
        """A connection that cannot be flushed is dropped after the write time."""
        connection = self.connect()
        connection.feed(get(b"/v1/a", b"Connection: close"))
        assert connection.transport.disconnecting
        self.clock.pump([60.0, 60.1])
        assert connection.transport.disconnected
        self.assert_clean(connection)

    def test_few_timers(self) -> None:
        """A thousand requests on a connection make no timers of their own."""
        connection = self.connect()
        made: list[Any] = []
        original = self.clock.callLater
        self.clock.callLater = lambda *a, **k: made.append(a) or original(*a, **k)  # type: ignore
        for _ in range(1000):
            connection.feed(post(b"/v1/a", b"x"))
        assert made == []
        assert len(self.clock.getDelayedCalls()) == 1
        self.assert_clean(connection)

    def test_unasked_body_is_bounded(self) -> None:
        """Of a body that nobody asks for only so much is read."""
        connection = self.connect()
        connection.feed(b"POST /v1/later HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n")
        connection.feed(b"x" * (MAX_UNASKED + 1))
        assert connection.transport.paused
        got: list[bytes] = []
        self.handler.open[0][0].body.read(1 << 20, got.append, None)
        assert not connection.transport.paused
        connection.feed(b"x" * (1000000 - MAX_UNASKED - 1))
        assert len(got[0]) == 1000000
        self.assert_clean(connection)

    def test_pipelining_is_bounded(self) -> None:
        """Behind a running request only so much is read, and it goes on afterwards."""
        connection = self.connect()
        connection.feed(get(b"/v1/later"))
        while not connection.transport.paused:
            connection.feed(get(b"/v1/b") * 100)
        self.handler.open[0][1].reply(200, [], b"")
        assert not connection.transport.paused
        assert len(connection.replies()) > 1000
        self.assert_clean(connection)

    def test_no_cycles(self) -> None:
        """A closed connection and its requests are freed without the garbage collector."""
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        connection = self.connect()
        connection.feed(post(b"/v1/a", b"x"), get(b"/v1/later"), post(b"/v1/b", b"y"))
        connection.protocol.pauseProducing()
        self.handler.open.pop()[1].reply(200, [], b"")
        protocol = weakref.ref(connection.protocol)
        connection.leave()
        connection.transport.producer = None
        del connection
        assert protocol() is None
