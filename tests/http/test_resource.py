"""The twisted.web face on real sockets, alone and behind the front."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import IResource, Resource
from twisted.web.server import Site
from zope.interface.verify import verifyObject

from tests.http.behaviour import FaceBehaviour, Listening
from tests.http.memory import Connected, memory_world
from tests.http.wire import Echo, get, post, real_world
from voidllm.core.interfaces import IResponder
from voidllm.http.front import FrontFactory
from voidllm.http.resource import ProxyResource
from voidllm.http.settings import FrontSettings
from voidllm.http.site import StrictSite


class TwistedFace(FaceBehaviour, Listening):
    """The common contract on a Site of its own (``server.front: twisted``)."""

    def make_factory(self, reactor: Any, handler: Any) -> Any:
        world = real_world(reactor)
        return StrictSite(world, ProxyResource(world, handler))


class HandedOverFace(FaceBehaviour, Listening):
    """The common contract on connections that the front hands over."""

    def make_factory(self, reactor: Any, handler: Any) -> Any:
        world = real_world(reactor)
        site = StrictSite(world, ProxyResource(world, handler))
        return FrontFactory(world, handler, site, is_fast=lambda method, path: False)


class ResourceDetails(SynchronousTestCase):
    """Details of the twisted.web face, in memory."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.world = memory_world(self.clock)
        self.handler = Echo()
        self.resource = ProxyResource(self.world, self.handler, FrontSettings(max_body_bytes=100))

    def connect(self, root: Any = None) -> Connected:
        """Connect to a strict Site."""
        self.site = StrictSite(self.world, root or self.resource)
        return Connected(self.site)

    def test_interfaces(self) -> None:
        """Resource and responder provide what the other side expects."""
        verifyObject(IResource, self.resource)
        connection = self.connect()
        connection.feed(get(b"/v1/later"))
        verifyObject(IResponder, self.handler.open[0][1])
        connection.leave()
        assert self.clock.getDelayedCalls() == []

    def test_on_a_stock_site(self) -> None:
        """Under a stock Site the refusals for size and compression hold too."""
        site = Site(self.resource, reactor=self.clock)
        for data, status in [
            (post(b"/v1/a", b"x" * 101), 413),
            (post(b"/v1/a", b"x", b"Content-Encoding: gzip"), 415),
            (post(b"/v1/a", b"x"), 200),
        ]:
            connection = Connected(site)
            connection.feed(data)
            (reply,) = connection.replies()
            assert reply.status == status
            assert "x-request-id" in reply.headers
            assert "server" not in reply.headers
            connection.leave()

    def test_handed_to_a_stock_site(self) -> None:
        """The front hands connections to a stock Site as well."""
        factory = FrontFactory(self.world, self.handler, Site(self.resource, reactor=self.clock))
        connection = Connected(factory)
        connection.feed(get(b"/v1/a") + get(b"/other"))
        assert [reply.status for reply in connection.replies()] == [200, 200]
        connection.leave()
        assert self.clock.getDelayedCalls() == []

    def test_errors_of_the_tree(self) -> None:
        """Paths and methods that no resource serves are JSON errors."""
        connection = self.connect(Resource())
        connection.feed(get(b"/nothing"))
        connection.feed(post(b"/", b""))
        missing, method = connection.replies()
        assert (missing.status, missing.error["code"]) == (404, "not_found")
        assert missing.headers["content-type"] == "application/json"

        class Readable(Resource):  # type: ignore[misc]
            isLeaf = True

            def render_GET(self, request: Any) -> bytes:
                return b""

        connection = self.connect(Readable())
        connection.feed(post(b"/", b""))
        (method,) = connection.replies()
        assert (method.status, method.error["code"]) == (405, "method_not_allowed")
        assert method.headers["allow"] == "GET, HEAD"

    def test_client_does_not_read(self) -> None:
        """A client that takes no byte is dropped after the write time, and the handler told."""
        connection = self.connect()
        connection.feed(get(b"/v1/later"))
        self.handler.open[0][1].head(200, [])
        connection.protocol.pauseProducing()
        self.clock.pump([60.0, 60.1])
        assert connection.transport.disconnected
        connection.leave()
        assert self.handler.gone == 1
        assert self.site.in_flight == 0
        assert self.clock.getDelayedCalls() == []

    def test_order_of_calls(self) -> None:
        """Calls out of order raise, calls after the end do nothing."""
        connection = self.connect()
        connection.feed(get(b"/v1/later"))
        responder = self.handler.open[0][1]
        self.assertRaises(RuntimeError, responder.chunk, b"x")
        self.assertRaises(RuntimeError, responder.end)
        responder.head(200, [])
        self.assertRaises(RuntimeError, responder.reply, 200, [], b"")
        assert responder.started
        responder.end()
        assert responder.closed
        responder.reply(200, [], b"")
        responder.abort()
        assert len(connection.replies()) == 1
