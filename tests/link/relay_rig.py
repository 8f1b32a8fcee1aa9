"""A worker's front and relay, and what the parent has behind it, on real sockets."""

from __future__ import annotations

import hashlib
import json
import os
import socket
from typing import Any, Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPullProducer
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site
from zope.interface import implementer

from voidllm.core.world import World
from voidllm.http.front import FrontFactory
from voidllm.http.population import Population
from voidllm.link.listener import adopt, bind_reuseport
from voidllm.link.relay import RelayFactory, RelaySettings
from voidllm.link.relay_listener import RelayListener
from voidllm.link.relay_transport import NearEnd
from voidllm.link.relay_wire import relay_channel

UNAVAILABLE = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
    b'Content-Length: 32\r\nConnection: close\r\n\r\n{"error":{"code":"not_ready"}}\r\n'
)


class Echo(Resource):
    """Says what came, from whom, and over what."""

    isLeaf = True

    def render(self, request: Any) -> bytes:
        """Answer in JSON."""
        body = request.content.read()
        peer, host = request.getClientAddress(), request.getHost()
        request.setHeader(b"content-type", b"application/json")
        return json.dumps(
            {
                "method": request.method.decode(),
                "uri": request.uri.decode(),
                "peer": [type(peer).__name__, peer.host, peer.port],
                "host": [type(host).__name__, host.host, host.port],
                "secure": request.isSecure(),
                "size": len(body),
                "sha256": hashlib.sha256(body).hexdigest(),
            }
        ).encode()


@implementer(IPullProducer)
class Big(Resource):
    """Sends as much as the path says, as fast as it is taken; a pattern, so that gaps show."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.sent = 0

    def render_GET(self, request: Any) -> int:
        """Begin to send."""
        self.request = request
        self.sent = 0
        self.size = int(request.postpath[0])
        request.setHeader(b"content-length", b"%d" % self.size)
        request.notifyFinish().addErrback(lambda _: None)
        request.registerProducer(self, False)
        return NOT_DONE_YET

    def resumeProducing(self) -> None:
        """Send a piece."""
        piece = pattern(self.sent, min(30_011, self.size - self.sent))
        self.sent += len(piece)
        self.request.write(piece)
        if self.sent == self.size:
            self.request.unregisterProducer()
            self.request.finish()

    def stopProducing(self) -> None:
        """The client is gone."""


class Hang(Resource):
    """Begins a reply and waits; notes who leaves."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Any] = []
        self.gone = 0

    def render_GET(self, request: Any) -> int:
        """Begin, and keep the request."""
        request.setHeader(b"content-length", b"1000000")
        if not request.postpath or request.postpath[0] != b"silent":
            request.write(b"begin")
        self.requests.append(request)
        request.notifyFinish().addErrback(self._left)
        return NOT_DONE_YET

    def _left(self, _: Any) -> None:
        self.gone += 1


_PATTERN = b"".join(b"%07d\n" % n for n in range(5003))


def pattern(start: int, size: int) -> bytes:
    """Give a slice of an endless text that repeats nowhere near a buffer's size."""
    at = start % len(_PATTERN)
    text = _PATTERN[at : at + size]
    while len(text) < size:
        text += _PATTERN[: size - len(text)]
    return text


class Parent:
    """The parent's side: a Site, and its listeners.

    :param make_site: makes the Site from its root.
    """

    def __init__(self, reactor: Any, make_site: Callable[[Resource], Any] | None = None) -> None:
        self._reactor = reactor
        self.hang, self.big = Hang(), Big()
        root = Resource()
        root.putChild(b"echo", Echo())
        root.putChild(b"big", self.big)
        root.putChild(b"hang", self.hang)
        self.site = Site(root, reactor=reactor) if make_site is None else make_site(root)
        self.site.noisy = False
        self.listeners: list[RelayListener] = []

    def listen(self, channel: socket.socket, **settings: Any) -> RelayListener:
        """Take connections from the parent's end of a channel."""
        listener = RelayListener(self._reactor, channel.detach(), self.site, **settings)
        listener.start()
        self.listeners.append(listener)
        return listener

    def stop(self) -> None:
        """Drop everything."""
        for listener in self.listeners:
            listener.stop()
            for connection in tuple(listener.connections):
                connection.abortConnection()


class Worker:
    """The worker's side: a front with nothing of its own, on one listening socket.

    :param wrap: puts TLS around the front.
    """

    def __init__(
        self,
        reactor: Any,
        channel_fd: int,
        listening_fd: int,
        settings: RelaySettings | None = None,
        wrap: Callable[[Any], Any] = lambda factory: factory,
    ) -> None:
        self.world = World(reactor=reactor, in_thread=deferToThread)
        self.population = Population()
        self.relay = RelayFactory(reactor, channel_fd, 3, self.population, lambda: UNAVAILABLE, settings)
        self.front = FrontFactory(self.world, None, self.relay)
        self.port = adopt(reactor, listening_fd, wrap(self.front))

    @property
    def members(self) -> list[Any]:
        """What is alive."""
        return list(self.population.connections)

    async def stop(self) -> None:
        """Drop everything."""
        await self.port.stopListening()
        self.population.draining = True
        self.front.abort_all()
        await self.front.drained()


def channel_and_socket() -> tuple[socket.socket, socket.socket, socket.socket]:
    """Make a channel and a listening socket: the parent's end, the worker's end, the socket."""
    parent, worker = relay_channel()
    return parent, worker, bind_reuseport("127.0.0.1", 0, 512, 1)[0]


async def until(reactor: Any, check: Callable[[], Any], what: str, patience_s: float = 20.0) -> Any:
    """Let the reactor turn until ``check`` gives something true."""
    end = reactor.seconds() + patience_s
    while not (found := check()):
        if reactor.seconds() > end:
            raise AssertionError(f"waited {patience_s} s in vain for {what}")
        pause: Deferred[None] = deferLater(reactor, 0.005)
        await pause
    return found


def descriptors() -> int:
    """Count this process's descriptors."""
    return len(os.listdir("/proc/self/fd"))


def pairs(reactor: Any) -> list[Any]:
    """Give the workers' ends of socketpairs that a reactor still has."""
    return [one for one in (*reactor.getReaders(), *reactor.getWriters()) if isinstance(one, NearEnd)]
