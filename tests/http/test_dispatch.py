"""Which messages stay on the fast front and how connections leave it."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource

from tests.http.behaviour import Listening, turn
from tests.http.memory import Connected, memory_world
from tests.http.wire import Echo, get, post, real_world
from voidllm.http.dispatch import is_fast
from voidllm.http.front import FrontFactory
from voidllm.http.resource import ProxyResource
from voidllm.http.site import StrictSite


class Admin(Resource):  # type: ignore[misc]
    """Answers every path with its method, path and body."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[bytes] = []

    def render(self, request: Any) -> bytes:
        """Answer one request."""
        self.seen.append(request.path)
        if request.path == b"/boom":
            raise RuntimeError("CANARY-admin")
        return b"slow " + request.method + b" " + request.path + b" " + request.content.read()


def tree(world: Any, handler: Any, admin: Any) -> StrictSite:
    """Make a Site as the gateway does: the handler below /v1, the rest elsewhere."""

    class Root(Resource):  # type: ignore[misc]
        def getChild(self, name: bytes, request: Any) -> Any:
            if name == b"v1":
                return ProxyResource(world, handler)
            request.postpath.insert(0, request.prepath.pop())
            return admin

    return StrictSite(world, Root())


class Classifying(SynchronousTestCase):
    """The rule, and its use at each message boundary, in memory."""

    def setUp(self) -> None:
        self.clock = Clock()
        world = memory_world(self.clock)
        self.handler, self.admin = Echo(), Admin()
        self.factory = FrontFactory(world, self.handler, tree(world, self.handler, self.admin))

    def test_rule(self) -> None:
        """Only /v1 and the MCP gateway are fast, not what merely begins alike."""
        for path in (b"/v1", b"/v1/", b"/v1/chat/completions", b"/api/v1/mcp", b"/api/v1/mcp/alias"):
            assert is_fast(b"POST", path), path
        for path in (b"/", b"/v1x", b"/v11/", b"/api/v1/mcp-servers", b"/api/v1/keys", b"/V1/a", b"*"):
            assert not is_fast(b"GET", path), path

    def test_mix_in_one_segment(self) -> None:
        """Fast, slow and fast messages in one segment are answered in order, each by its side."""
        data = (
            post(b"/v1/one", b"GET /admin HTTP/1.1\r\nHost: h\r\n\r\n")
            + post(b"/admin/two", b"POST /v1/x HTTP/1.1\r\n\r\n")
            + post(b"/v1/three", b"3")
            + get(b"/four")
        )
        for size in (len(data), 1, 7):
            connection = Connected(self.factory)
            connection.feed(*[data[at : at + size] for at in range(0, len(data), size)])
            one, two, three, four = connection.replies()
            assert b"one" in one.body
            assert two.body == b"slow POST /admin/two POST /v1/x HTTP/1.1\r\n\r\n"
            assert b"three" in three.body
            assert four.body == b"slow GET /four "
            assert self.factory.in_flight == 0
            assert len(self.factory.connections) == 1
            connection.leave()
        assert self.handler.seen == [b"/v1/one", b"/v1/three"] * 3
        assert self.admin.seen == [b"/admin/two", b"/four"] * 3
        assert self.factory.connections == set()
        assert self.clock.getDelayedCalls() == []

    def test_waits_for_earlier_replies(self) -> None:
        """A pipelined slow message waits until the fast one before it is answered."""
        connection = Connected(self.factory)
        connection.feed(get(b"/v1/later") + get(b"/admin"))
        assert self.admin.seen == []
        assert connection.transport.value() == b""
        self.handler.open[0][1].reply(200, [], b"first")
        first, second = connection.replies()
        assert (first.body, second.body) == (b"first", b"slow GET /admin ")
        connection.leave()

    def test_early_hand_over(self) -> None:
        """A slow message leaves the front as soon as its request line is known."""
        connection = Connected(self.factory)
        connection.feed(b"GET /admin HTTP/1.1\r\nHo")
        assert connection.protocol not in self.factory.connections
        connection.feed(b"st: h\r\n\r\n")
        assert connection.replies()[0].body == b"slow GET /admin "
        connection.leave()

    def test_long_request_line(self) -> None:
        """Waiting for a request line is bounded."""
        connection = Connected(self.factory)
        for _ in range(40):
            connection.feed(b"G" * 1000)
        assert connection.replies()[0].status == 431
        connection.leave()

    def test_without_site(self) -> None:
        """Without a Site everything else is a 404 in JSON, and the connection stays."""
        factory = FrontFactory(memory_world(Clock()), self.handler)
        connection = Connected(factory)
        connection.feed(post(b"/other", b"body") + get(b"/v1/a"))
        first, second = connection.replies()
        assert (first.status, first.error["type"]) == (404, "not_found_error")
        assert second.status == 200

    def test_absolute_form(self) -> None:
        """The path in an absolute target decides, on both sides."""
        connection = Connected(self.factory)
        connection.feed(b"GET http://h/v1/a HTTP/1.1\r\nHost: h\r\n\r\n")
        connection.feed(b"GET https://h?x HTTP/1.1\r\nHost: h\r\n\r\n")
        fast, slow = connection.replies()
        assert b"GET" in fast.body
        assert slow.body == b"slow GET / "
        connection.leave()

    def test_slow_side_times(self) -> None:
        """Slow heads and bodies end on the Site as on the front; idle ones silently."""
        connection = Connected(self.factory)
        connection.feed(b"GET /admin HTTP/1.1\r\n")
        for _ in range(19):
            self.clock.advance(0.5)
            connection.feed(b"X: y\r\n")
        self.clock.advance(0.6)
        assert connection.replies()[0].status == 408
        connection.leave()
        connection = Connected(self.factory)
        connection.feed(post(b"/admin", b"x" * 50)[:-50])
        for _ in range(5):
            self.clock.advance(29)
            connection.feed(b"x")
        self.clock.advance(30.1)
        assert connection.replies()[0].status == 408
        connection.leave()
        connection = Connected(self.factory)
        connection.feed(get(b"/admin"))
        connection.transport.clear()
        self.clock.advance(60.1)
        assert connection.transport.disconnecting
        assert connection.transport.value() == b""
        connection.leave()
        assert self.clock.getDelayedCalls() == []

    def test_slow_side_limits(self) -> None:
        """A body over the Site's limit is a 413, declared or chunked."""
        declared = b"POST /admin HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999\r\n\r\n"
        streamed = b"POST /admin HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        streamed += (b"100000\r\n" + b"x" * (1 << 20) + b"\r\n") * 21
        for data in (declared, streamed):
            connection = Connected(self.factory)
            connection.feed(data)
            (reply,) = connection.replies()
            assert (reply.status, reply.error["code"]) == (413, "request_too_large")
            connection.leave()

    def test_slow_side_failure(self) -> None:
        """A resource that raises gives a JSON 500 without its text."""
        connection = Connected(self.factory)
        connection.feed(get(b"/boom"))
        (reply,) = connection.replies()
        assert (reply.status, reply.error["code"]) == (500, "internal_error")
        assert b"CANARY" not in reply.body
        connection.leave()

    def test_large_bodies_stay_in_memory(self) -> None:
        """The Site keeps bodies in memory, where twisted.web would make a file."""
        connection = Connected(self.factory)
        connection.feed(get(b"/admin"), post(b"/v1/x", b"x" * 300_000))
        assert b"x" * 300_000 in connection.replies()[1].body
        connection.leave()


class HandOver(Listening):
    """The same on real sockets."""

    def make_factory(self, reactor: Any, handler: Any) -> Any:
        world = real_world(reactor)
        self.admin = Admin()
        return FrontFactory(world, handler, tree(world, handler, self.admin))

    async def test_mix(self) -> None:
        """One connection serves fast, slow and fast requests, and drains like any other."""
        client = await self.client()
        client.transport.write(post(b"/v1/a", b"1") + get(b"/admin") + post(b"/v1/b", b"2"))
        replies = await client.get(3)
        assert [reply.status for reply in replies] == [200, 200, 200]
        assert len(self.factory.connections) == 1
        self.factory.drain()
        await client.until(lambda: False)
        await self.factory.drained()

    async def test_drain_on_the_slow_side(self) -> None:
        """A running request on the slow side holds the drain and is answered with close."""
        client = await self.client()
        client.transport.write(get(b"/admin") + get(b"/v1/later"))
        await client.get()
        while not self.handler.open:
            await turn(self.reactor)
        self.factory.drain()
        drained = self.factory.drained()
        assert self.factory.in_flight == 1
        assert not drained.called
        self.handler.open[0][1].reply(200, [], b"last")
        (reply,) = await client.all()
        assert (reply.headers["connection"], reply.body) == ("close", b"last")
        await drained
