"""What strangers may make the Site hold in memory."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.http.memory import Connected, memory_world
from tests.http.test_dispatch import Admin, tree
from tests.http.wire import Echo, get, post
from voidllm.core.errors import Refusal
from voidllm.http.front import FrontFactory

_ID = b"0190a8a0-0000-7000-8000-000000000abc"


class Strangers(SynchronousTestCase):
    """The Site buffers bodies, so it asks first whose they are."""

    def setUp(self) -> None:
        self.clock = Clock()
        world = memory_world(self.clock)
        self.handler, self.admin = Echo(), Admin()
        self.site = tree(world, self.handler, self.admin)
        self.site.welcome = self.welcome
        self.factory = FrontFactory(world, self.handler, self.site)
        self.asked: list[tuple[str, float]] = []

    def welcome(self, headers: list[tuple[bytes, bytes]], request_id: str, started_s: float) -> None:
        self.asked.append((request_id, started_s))
        if (b"x-api-key", b"good") not in headers:
            raise Refusal(401, "unauthorized", "invalid API key", headers=((b"www-authenticate", b"Bearer"),))

    def test_a_large_body_for_another_path_is_refused_at_its_head(self) -> None:
        """Nobody is known yet on such a path, so 64 KiB is all that is taken."""
        for size, status in ((64 << 10, 200), ((64 << 10) + 1, 413)):
            connection = Connected(self.factory)
            connection.feed(post(b"/admin", b"x" * size))
            self.assertEqual([reply.status for reply in connection.replies()], [status])
            connection.leave()
        self.assertEqual(self.asked, [])

    def test_a_large_body_without_a_length_is_refused_on_the_way(self) -> None:
        """Chunks for such a path count too."""
        connection = Connected(self.factory)
        connection.feed(b"POST /admin HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(5):
            connection.feed(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
        self.assertEqual([reply.status for reply in connection.replies()], [413])
        connection.leave()
        self.assertEqual(self.admin.seen, [])

    def test_the_key_is_checked_before_the_body_is_read(self) -> None:
        """On a connection that was handed over, a stranger's body is refused at its head."""
        self.clock.advance(3)
        connection = Connected(self.factory)
        connection.feed(get(b"/admin"))
        head = b"POST /v1/x HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\nX-Request-Id: %b\r\n\r\n" % _ID
        connection.feed(head, b"x" * 1000)
        reply = connection.replies()[1]
        self.assertEqual((reply.status, reply.error["code"]), (401, "unauthorized"))
        self.assertEqual(reply.headers["www-authenticate"], "Bearer")
        self.assertEqual(reply.headers["x-request-id"], _ID.decode())
        self.assertEqual(reply.headers["connection"], "close")
        self.assertEqual(self.asked, [(_ID.decode(), 3.0)])
        connection.leave()
        self.clock.advance(60)
        self.assertEqual(self.site.in_flight, 0)

    def test_whoever_is_known_may_send_a_large_body(self) -> None:
        """A good key opens the way for the body and for the next request."""
        connection = Connected(self.factory)
        body = b"x" * 200_000
        connection.feed(get(b"/admin"), post(b"/v1/x", body, b"x-api-key: good"), get(b"/admin"))
        replies: list[Any] = connection.replies()
        self.assertEqual([reply.status for reply in replies], [200, 200, 200])
        self.assertIn(body, replies[1].body)
        connection.leave()

    def test_without_a_body_nobody_is_asked_twice(self) -> None:
        """The handler checks keys itself; only bodies need it earlier."""
        connection = Connected(self.factory)
        connection.feed(get(b"/admin"), get(b"/v1/models"))
        self.assertEqual([reply.status for reply in connection.replies()], [200, 200])
        self.assertEqual(self.asked, [])
        connection.leave()
