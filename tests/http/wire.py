"""Raw sockets and plain handlers for tests of the listening side."""

from __future__ import annotations

import re
from typing import Any, Callable

import ujson
from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol

from voidllm.core.world import World
from voidllm.http.replies import refusal_reply


@define
class Reply:
    """One reply taken off the wire."""

    version: str
    status: int
    headers: dict[str, str]
    body: bytes
    names: list[str] = field(factory=list)

    @property
    def error(self) -> dict[str, Any]:
        """The ``error`` object of a JSON error body."""
        return ujson.loads(self.body)["error"]


def take_reply(data: bytes, head_only: bool = False) -> tuple[Reply, bytes] | None:
    """Parse one reply and give what follows it; ``None`` while it is incomplete."""
    head, separator, rest = data.partition(b"\r\n\r\n")
    if not separator:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    version, status, *_ = first.split(" ")
    pairs = [line.split(": ", 1) for line in lines]
    headers = {name.lower(): value for name, value in pairs}
    reply = Reply(version, int(status), headers, b"", [name.lower() for name, _ in pairs])
    if reply.status == 100 or head_only or reply.status in (204, 304):
        return reply, rest
    if headers.get("transfer-encoding") == "chunked":
        while True:
            size, separator, after = rest.partition(b"\r\n")
            if not separator:
                return None
            length = int(size, 16)
            if len(after) < length + 2:
                return None
            reply.body += after[:length]
            rest = after[length + 2 :]
            if not length:
                return reply, rest
    if "content-length" in headers:
        length = int(headers["content-length"])
        if len(rest) < length:
            return None
        reply.body = rest[:length]
        return reply, rest[length:]
    reply.body = rest
    return reply, b""


def take_all(data: bytes) -> list[Reply]:
    """Parse every reply in ``data``; left-over bytes are an error."""
    replies = []
    while data:
        taken = take_reply(data)
        assert taken is not None, f"incomplete reply: {data[:200]!r}"
        reply, data = taken
        replies.append(reply)
    return replies


class RawClient(Protocol):
    """Sends what it is told and keeps what it gets."""

    def __init__(self) -> None:
        self.received = b""
        self.closed = False
        self._waiting: list[tuple[Callable[[], bool], Deferred[None]]] = []

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        self._look()

    def connectionLost(self, reason: Any = None) -> None:
        self.closed = True
        self.reason = reason
        self._look()

    def _look(self) -> None:
        for item in tuple(self._waiting):
            if item[0]() or self.closed:
                self._waiting.remove(item)
                item[1].callback(None)

    def until(self, ready: Callable[[], bool]) -> Deferred[None]:
        """Wait for ``ready()``, or the end of the connection."""
        waiter: Deferred[None] = Deferred()
        self._waiting.append((ready, waiter))
        self._look()
        return waiter

    async def get(self, count: int = 1, head_only: bool = False) -> list[Reply]:
        """Wait for ``count`` replies and take them off what was received."""
        replies: list[Reply] = []
        while len(replies) < count:
            await self.until(lambda: take_reply(self.received, head_only) is not None)
            taken = take_reply(self.received, head_only)
            assert taken is not None, f"closed; got {self.received[:300]!r}"
            reply, self.received = taken
            replies.append(reply)
        return replies

    async def all(self) -> list[Reply]:
        """Wait for the end of the connection and give every reply."""
        await self.until(lambda: False)
        return take_all(self.received)


async def connect(reactor: Any, port: int) -> RawClient:
    """Connect a raw client to a port of this machine."""
    return await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", port, timeout=5), RawClient())


def real_world(reactor: Any) -> World:
    """Make a world on a real reactor; nothing here uses threads."""
    return World(reactor=reactor, in_thread=lambda f, *a: f(*a))


class Echo:
    """Answers by path: what the front made of the request, as JSON.

    ``/v1/stream`` answers in chunks, ``/v1/head`` without reading the body, ``/v1/later``
    keeps the request open, ``/v1/boom`` raises.
    """

    def __init__(self, limit: int = 1 << 20) -> None:
        self.limit = limit
        self.seen: list[bytes] = []
        self.open: list[tuple[Any, Any]] = []
        self.gone = 0

    def handle(self, request: Any, responder: Any) -> None:
        """Answer one request."""
        self.seen.append(request.path)
        if request.path == b"/v1/head":
            responder.reply(401, [(b"content-type", b"text/plain")], b"no")
            return
        if request.path == b"/v1/boom":
            raise RuntimeError("CANARY-boom")
        if request.path == b"/v1/later":
            self.open.append((request, responder))
            responder.register(self)
            return
        if request.path == b"/v1/started":
            responder.head(200, [])
            responder.chunk(b"some")
            raise RuntimeError("CANARY-started")

        def done(body: bytes) -> None:
            if request.path == b"/v1/stream":
                responder.head(200, [(b"content-type", b"text/plain")])
                for at in range(0, len(body), 5):
                    responder.chunk(body[at : at + 5])
                responder.end()
                return
            told = {
                "method": request.method.decode(),
                "path": request.path.decode(),
                "query": request.query.decode(),
                "client": request.client,
                "id": request.request_id,
                "length": request.content_length,
                "body": body.decode("latin-1"),
            }
            responder.reply(200, [(b"content-type", b"application/json")], ujson.dumps(told).encode())

        def failed(refusal: Any) -> None:
            headers, body = refusal_reply(refusal, request.request_id)
            responder.reply(refusal.status, headers, body)

        request.body.read(self.limit, done, failed)

    def pauseProducing(self) -> None:
        """The client is slow."""

    def resumeProducing(self) -> None:
        """The client has caught up."""

    def stopProducing(self) -> None:
        """The client is gone."""
        self.gone += 1


def post(path: bytes, body: bytes = b"", *headers: bytes) -> bytes:
    """Write a POST request."""
    lines = [b"POST " + path + b" HTTP/1.1", b"Host: gateway", b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def get(path: bytes, *headers: bytes) -> bytes:
    """Write a GET request."""
    return b"\r\n".join([b"GET " + path + b" HTTP/1.1", b"Host: gateway", *headers]) + b"\r\n\r\n"


DATE = re.compile(r"\A[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT\Z")
