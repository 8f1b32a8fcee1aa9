"""Connections that a worker hands over: what arrives, what comes back, and how they end."""

from __future__ import annotations

import hashlib
import json
import socket
from typing import Any

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.link.relay_rig import Parent, Worker, channel_and_socket, descriptors, pattern, until
from voidllm.link.relay import RelaySettings

_SMALL = 16 << 10


def _get(path: str, more: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: h\r\n{more}\r\n".encode()


class RelayCase(TestCase):
    """A worker and its parent on one reactor, with real sockets between them."""

    settings: RelaySettings | None = None
    limits: dict[str, Any] = {}

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        parent_end, worker_end, listening = channel_and_socket()
        self.port: int = listening.getsockname()[1]
        self.parent = Parent(reactor)
        self.listener = self.parent.listen(parent_end, **self.limits)
        self.worker = Worker(reactor, worker_end.detach(), listening.detach(), self.settings)
        self.open: list[socket.socket] = []

    async def tearDown(self) -> None:
        for client in self.open:
            client.close()
        await self.worker.stop()
        self.parent.stop()
        await self.until(lambda: not self.listener.connections, "the relayed connections to end")
        # Ends of pairs close a turn later than the clients.
        await self.until(
            lambda: not [r for r in self.reactor.getReaders() if "NearEnd" in repr(r)], "pairs to be closed"
        )

    async def until(self, check: Any, what: str, patience_s: float = 20.0) -> Any:
        return await until(self.reactor, check, what, patience_s)

    def connect(self, receive_buffer: int | None = None) -> socket.socket:
        """Open a blocking connection; it is closed at the end."""
        client = socket.socket()
        self.open.append(client)
        if receive_buffer is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.settimeout(20)
        client.connect(("127.0.0.1", self.port))
        return client


def reply(client: socket.socket) -> tuple[bytes, bytes]:
    """Read one reply with a length: head and body."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = client.recv(65536)
        if not more:
            raise AssertionError("the connection ended within a head")
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    (length,) = (
        int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")
    )
    while len(body) < length:
        more = client.recv(65536)
        if not more:
            raise AssertionError("the connection ended within a body")
        body += more
    assert len(body) == length, "more than one reply"
    return head, body


def ask(client: socket.socket, request: bytes) -> Any:
    """Send a request and read its JSON."""
    client.sendall(request)
    return json.loads(reply(client)[1])


class Passing(RelayCase):
    """What is sent is what arrives."""

    async def test_request_and_addresses(self) -> None:
        """The Site answers a request as if it had accepted the connection, and knows both addresses."""
        client = self.connect()
        said = await deferToThread(ask, client, _get("/echo?a=1"))
        self.assertEqual(said["uri"], "/echo?a=1")
        self.assertEqual(said["peer"], ["IPv4Address", *client.getsockname()])
        self.assertEqual(said["host"], ["IPv4Address", "127.0.0.1", self.port])
        self.assertFalse(said["secure"])
