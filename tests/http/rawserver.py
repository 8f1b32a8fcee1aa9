"""An upstream whose every byte is the test's own, on a real socket."""

from __future__ import annotations

from typing import Any

from twisted.internet import defer
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from voidllm.core.interfaces import IUpstreamSink
from voidllm.core.world import World
from voidllm.http.upstream import Origin, UpstreamFailure, UpstreamRequest


def ok(body: bytes = b"hi", *fields: bytes) -> bytes:
    """Give the bytes of a reply with a known length."""
    lines = b"".join(field + b"\r\n" for field in fields)
    return b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (lines, len(body), body)


class RawPeer(Protocol):
    """One connection as the server sees it.

    :ivar received: bytes not yet taken by :meth:`request`.
    """

    transport: Any

    def __init__(self, server: RawServer) -> None:
        self.server = server
        self.received = b""
        self.is_lost = False
        self.clean = False
        self._waiting: list[tuple[Any, defer.Deferred[Any]]] = []

    def connectionMade(self) -> None:
        """Register."""
        self.server.peers.append(self)
        self.server.arrived(self)

    def dataReceived(self, data: bytes) -> None:
        """Keep the bytes, answer if the server has been told how."""
        self.received += data
        self._check()
        script = self.server.script
        while script is not None:
            taken = self._take_request()
            if taken is None:
                break
            self.server.requests.append(taken)
            script(self, *taken)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Note it."""
        self.is_lost = True
        self.clean = bool(reason.check(ConnectionDone))  # type: ignore[no-untyped-call]
        self._check()
        self.server.left()

    def write(self, *pieces: bytes) -> None:
        """Send bytes."""
        for piece in pieces:
            self.transport.write(piece)

    def close(self) -> None:
        """End the stream cleanly."""
        self.transport.loseConnection()

    def abort(self) -> None:
        """Reset the connection."""
        self.transport.abortConnection()

    def until(self, check: Any) -> defer.Deferred[Any]:
        """Fire with the first true value of ``check()``, looked at whenever something happens."""
        waiter: defer.Deferred[Any] = defer.Deferred()
        self._waiting.append((check, waiter))
        self._check()
        return waiter

    def request(self) -> defer.Deferred[Any]:
        """Fire with (head, body) of the next request."""
        return self.until(self._take_request)

    def lost(self) -> defer.Deferred[Any]:
        """Fire once the connection is gone."""
        return self.until(lambda: self.is_lost)

    def _check(self) -> None:
        for entry in list(self._waiting):
            value = entry[0]()
            if value:
                self._waiting.remove(entry)
                entry[1].callback(value)

    def _take_request(self) -> tuple[bytes, bytes] | None:
        head, blank, rest = self.received.partition(b"\r\n\r\n")
        if not blank:
            return None
        lower = head.lower()
        if b"\r\ntransfer-encoding: chunked" in lower:
            end = rest.find(b"0\r\n\r\n")
            if end < 0:
                return None
            self.received = rest[end + 5 :]
            return head, _dechunk(rest[:end])
        length = 0
        if b"\r\ncontent-length: " in lower:
            length = int(lower.partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0])
        if len(rest) < length:
            return None
        self.received = rest[length:]
        return head, rest[:length]


def _dechunk(data: bytes) -> bytes:
    body = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        body += data[: int(size, 16)]
        data = data[int(size, 16) + 2 :]
    return body


class RawServer(Factory):
    """Listens on a free port of 127.0.0.1.

    :param tls: a TLS context factory, or ``None``.
    :ivar script: called with (peer, head, body) for each complete request, if set.
    :ivar requests: what the script was called with.
    """

    noisy = False

    def __init__(self, reactor: Any, tls: Any = None, interface: str = "127.0.0.1") -> None:
        self.tls = tls
        self.peers: list[RawPeer] = []
        self.requests: list[tuple[bytes, bytes]] = []
        self.script: Any = None
        self._accepting: list[defer.Deferred[RawPeer]] = []
        self._unclaimed: list[RawPeer] = []
        self._leaving: list[defer.Deferred[None]] = []
        if tls is None:
            self._listening = reactor.listenTCP(0, self, interface=interface)
        else:
            self._listening = reactor.listenSSL(0, self, tls, interface=interface)
        self.port: int = self._listening.getHost().port

    def buildProtocol(self, addr: Any) -> RawPeer:
        """Make a peer."""
        return RawPeer(self)

    def arrived(self, peer: RawPeer) -> None:
        """Hand a new connection to whoever waits for one."""
        if self._accepting:
            self._accepting.pop(0).callback(peer)
        else:
            self._unclaimed.append(peer)

    def accept(self) -> defer.Deferred[RawPeer]:
        """Fire with the next new connection."""
        if self._unclaimed:
            return defer.succeed(self._unclaimed.pop(0))
        waiter: defer.Deferred[RawPeer] = defer.Deferred()
        self._accepting.append(waiter)
        return waiter

    def answer(self, *replies: bytes) -> None:
        """Answer each request with the next of ``replies``, the last one for ever."""
        left = list(replies)

        def script(peer: RawPeer, head: bytes, body: bytes) -> None:
            peer.write(left.pop(0) if len(left) > 1 else left[0])

        self.script = script

    @property
    def live(self) -> int:
        """How many connections are open."""
        return sum(not peer.is_lost for peer in self.peers)

    def left(self) -> None:
        """A connection is gone."""
        if not self.live:
            waiters, self._leaving = self._leaving, []
            for waiter in waiters:
                waiter.callback(None)

    def all_gone(self) -> defer.Deferred[None]:
        """Fire once no connection is open."""
        waiter: defer.Deferred[None] = defer.Deferred()
        self._leaving.append(waiter)
        self.left()
        return waiter

    async def stop(self) -> None:
        """Stop listening and drop every connection."""
        await defer.maybeDeferred(self._listening.stopListening)
        for peer in self.peers:
            if not peer.is_lost:
                peer.transport.abortConnection()
        await self.all_gone()


@implementer(IUpstreamSink)
class Recorder:
    """A sink that remembers.

    :ivar events: names of the calls it got, in order.
    """

    def __init__(self) -> None:
        self.events: list[str] = []
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.chunks: list[bytes] = []
        self.failure: UpstreamFailure | None = None
        self.on_head: Any = None
        self.on_chunk: Any = None
        self._waiting: list[tuple[Any, defer.Deferred[Any]]] = []

    @property
    def body(self) -> bytes:
        """All bytes of the body so far."""
        return b"".join(self.chunks)

    @property
    def ended(self) -> str:
        """``finished``, the kind of failure, or nothing yet."""
        if self.failure is not None:
            return self.failure.kind
        return "finished" if "finished" in self.events else ""

    def until(self, check: Any) -> defer.Deferred[Any]:
        """Fire with the first true value of ``check()``."""
        waiter: defer.Deferred[Any] = defer.Deferred()
        self._waiting.append((check, waiter))
        self._check()
        return waiter

    def end(self) -> defer.Deferred[str]:
        """Fire with how it ended."""
        return self.until(lambda: self.ended)

    def _check(self) -> None:
        for entry in list(self._waiting):
            value = entry[0]()
            if value:
                self._waiting.remove(entry)
                entry[1].callback(value)

    def _note(self, event: str) -> None:
        assert not self.ended, f"{event} after the end"
        self.events.append(event)

    def got_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Remember the head."""
        self._note("head")
        self.status, self.headers = status, headers
        if self.on_head is not None:
            self.on_head()
        self._check()

    def got_chunk(self, data: bytes) -> None:
        """Remember a piece."""
        self._note("chunk")
        self.chunks.append(data)
        if self.on_chunk is not None:
            self.on_chunk()
        self._check()

    def finished(self) -> None:
        """Remember the end."""
        self._note("finished")
        self._check()

    def failed(self, failure: UpstreamFailure) -> None:
        """Remember the failure."""
        self._note("failed")
        self.failure = failure
        self._check()


def real_world(reactor: Any) -> World:
    """Make a world on the real reactor."""
    from twisted.internet.threads import deferToThreadPool

    def in_thread(f: Any, *args: Any, **kwargs: Any) -> Any:
        return deferToThreadPool(reactor, reactor.getThreadPool(), f, *args, **kwargs)

    return World(reactor=reactor, in_thread=in_thread)


def ask(port: int, body: Any = b"{}", **more: Any) -> UpstreamRequest:
    """Make a request to 127.0.0.1."""
    origin = more.pop("origin", None) or Origin("http", "127.0.0.1", port)
    method = more.pop("method", b"POST")
    target = more.pop("target", b"/v1/x")
    headers = more.pop("headers", ((b"x-a", b"1"),))
    return UpstreamRequest(origin, method, target, headers, body, **more)
