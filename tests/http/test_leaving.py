"""Clients that leave at any byte leave nothing behind, on either face."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.http.memory import Connected, memory_world
from tests.http.wire import Echo, get, post
from voidllm.http.front import FrontFactory
from voidllm.http.resource import ProxyResource
from voidllm.http.site import StrictSite

MESSAGES = (
    post(b"/v1/a", b"hello")
    + post(b"/slow", b"there")
    + b"POST /v1/stream HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    + b"3\r\nabc\r\n0\r\nX: y\r\n\r\n"
    + post(b"/v1/later", b"never answered", b"Expect: 100-continue")
    + get(b"/v1/behind")
)


class Leaving(SynchronousTestCase):
    """Every prefix of a conversation, then the end."""

    def leave_everywhere(self, make: Any) -> None:
        """Cut the conversation after each byte."""
        for length in range(len(MESSAGES) + 1):
            clock = Clock()
            handler = Echo()
            factory = make(memory_world(clock), handler)
            connection = Connected(factory)
            connection.feed(MESSAGES[:length])
            connection.leave()
            assert clock.getDelayedCalls() == [], length
            assert factory.in_flight == 0, length
            assert factory.connections == set(), length
            assert handler.gone == len(handler.open), length

    def test_fast_and_slow(self) -> None:
        """The front with a Site behind it."""

        def make(world: Any, handler: Any) -> Any:
            return FrontFactory(world, handler, StrictSite(world, ProxyResource(world, handler)))

        self.leave_everywhere(make)

    def test_fast(self) -> None:
        """The front alone."""
        self.leave_everywhere(FrontFactory)

    def test_twisted(self) -> None:
        """The Site alone."""
        self.leave_everywhere(lambda world, handler: StrictSite(world, ProxyResource(world, handler)))
