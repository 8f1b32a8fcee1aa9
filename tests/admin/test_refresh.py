"""A scrape asks other processes first, and does not wait for them longer than a second."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.test.requesthelper import DummyRequest

from voidllm.admin.probes import MetricsResource
from voidllm.core.world import World
from voidllm.http.clientaddr import TrustedProxies


class RefreshTests(SynchronousTestCase):
    """``/metrics`` of a gateway with workers."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.cancelled: list[Any] = []
        self.asked: Deferred[Any] = Deferred(self.cancelled.append)
        self.number = 1

    def scrape(self) -> Any:
        world = World(reactor=self.clock, in_thread=maybeDeferred)
        resource = MetricsResource(
            world, lambda: b"%d" % self.number, "", TrustedProxies(()), lambda: self.asked
        )
        request: Any = DummyRequest([b"metrics"])
        request.getClientAddress = request.getClientIP = lambda: type("Peer", (), {"host": "127.0.0.1"})
        resource.render_GET(request)
        return request

    def test_fresh(self) -> None:
        """The page is made after the numbers came."""
        request = self.scrape()
        self.assertEqual(request.written, [])
        self.number = 2
        self.asked.callback(None)
        self.assertEqual((request.written, request.finished), ([b"2"], 1))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_late(self) -> None:
        """After a second the page is made of what is known."""
        request = self.scrape()
        self.clock.advance(0.9)
        self.assertEqual(request.written, [])
        self.clock.advance(0.2)
        self.assertEqual((request.written, self.cancelled), ([b"1"], [self.asked]))

    def test_failed(self) -> None:
        """A fault in asking is logged, and the page is made all the same."""
        request = self.scrape()
        self.asked.errback(OSError("x"))
        self.assertEqual(request.written, [b"1"])
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_client_gone(self) -> None:
        """Nothing is written to a client that did not wait."""
        request = self.scrape()
        request.processingFailed(Failure(ConnectionDone()))
        self.asked.callback(None)
        self.assertEqual(request.written, [])
