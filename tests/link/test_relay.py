"""Connections that a worker hands over: what arrives, what comes back, and how they end."""

from __future__ import annotations

import hashlib
import json
import select
import socket
from typing import Any

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.link.relay_rig import (
    UNAVAILABLE,
    Parent,
    Worker,
    channel_and_socket,
    descriptors,
    pairs,
    pattern,
    until,
)
from voidllm.core.world import World
from voidllm.http.site import StrictSite
from voidllm.link.relay import RelaySettings

_SMALL = 16 << 10


def get(path: str, more: str = "") -> bytes:
    """Make a request."""
    return f"GET {path} HTTP/1.1\r\nHost: h\r\n{more}\r\n".encode()


class RelayCase(TestCase):
    """A worker and its parent on one reactor, with real sockets between them."""

    settings: RelaySettings | None = None
    limits: dict[str, Any] = {}
    make_site: Any = None

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        parent_end, worker_end, listening = channel_and_socket()
        self.port: int = listening.getsockname()[1]
        self.parent = Parent(reactor, self.make_site)
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
        await self.until(lambda: not pairs(self.reactor), "pairs to be closed")

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
        said = await deferToThread(ask, client, get("/echo?a=1"))
        self.assertEqual(said["uri"], "/echo?a=1")
        self.assertEqual(said["peer"], ["IPv4Address", *client.getsockname()])
        self.assertEqual(said["host"], ["IPv4Address", "127.0.0.1", self.port])
        self.assertFalse(said["secure"])

    async def test_byte_exact_from_the_boundary(self) -> None:
        """What the front has read already is replayed, however the bytes were cut, and pipelining holds."""
        whole = get("/echo?n=1") + b"POST /echo?n=2 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"

        def talk(cuts: list[int]) -> list[Any]:
            client = self.connect()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for start, stop in zip([0, *cuts], [*cuts, len(whole)], strict=True):
                client.sendall(whole[start:stop])
                if stop == cuts[-1]:
                    self.reactor.callFromThread(lambda: None)
            data = b""
            while data.count(b"sha256") < 2:
                data += client.recv(65536)
            return [json.loads(part[: part.index(b"}") + 1]) for part in data.split(b"\r\n\r\n")[1:]]

        for cuts in ([9], [1, 2, 3], [len(whole) - 3], [len(get("/echo?n=1"))]):
            first, second = await deferToThread(talk, cuts)
            self.assertEqual((first["uri"], second["uri"]), ("/echo?n=1", "/echo?n=2"))
            self.assertEqual(second["sha256"], hashlib.sha256(b"hello").hexdigest())

    async def test_keep_alive(self) -> None:
        """A connection stays the parent's for every request that follows."""
        client = self.connect()
        for number in range(3):
            said = await deferToThread(ask, client, get(f"/echo?{number}"))
            self.assertEqual(said["uri"], f"/echo?{number}")
        self.assertEqual(len(self.listener.connections), 1)
        self.assertEqual(len(self.worker.members), 1)

    async def test_upload(self) -> None:
        """A large body arrives whole."""
        body = pattern(0, 8_000_000)
        head = b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(body)
        said = await deferToThread(ask, self.connect(), head + body)
        self.assertEqual(said["sha256"], hashlib.sha256(body).hexdigest())

    async def test_many_at_once(self) -> None:
        """Two hundred connections are relayed together, each with its own reply."""

        def talk() -> list[str]:
            clients = [self.connect() for _ in range(200)]
            for number, client in enumerate(clients):
                client.sendall(get(f"/echo?{number}"))
            return [json.loads(reply(client)[1])["uri"] for client in clients]

        uris = await deferToThread(talk)
        self.assertEqual(uris, [f"/echo?{number}" for number in range(200)])
        self.assertEqual(len(self.listener.connections), 200)

    async def test_descriptors(self) -> None:
        """Five hundred connections leave none behind, on either side."""

        def talk(count: int) -> None:
            for _ in range(count):
                client = self.connect()
                ask(client, get("/echo"))
                client.close()

        async def settled() -> int:
            await self.until(lambda: not self.listener.connections and not self.worker.members, "their end")
            await self.until(lambda: not pairs(self.reactor), "the pairs' end")
            return descriptors()

        await deferToThread(talk, 5)
        before = await settled()
        await deferToThread(talk, 500)
        self.assertLessEqual(await settled(), before)


class Backpressure(RelayCase):
    """A slow side holds the other one back."""

    async def test_slow_reader(self) -> None:
        """A reply waits in the parent's producer, and what was held back arrives whole."""
        size = 12_000_000
        client = self.connect(_SMALL)
        client.sendall(get(f"/big/{size}"))
        big = self.parent.big
        seen = -1

        def stands_still() -> bool:
            nonlocal seen
            still, seen = big.sent == seen and big.sent > 0, big.sent
            return still

        for _ in range(5):
            await self.until(stands_still, "the producer to be held back")
        # The kernel's buffers for TCP are the larger part.
        self.assertLess(big.sent, 8_000_000)
        (member,) = self.worker.members
        (relayed,) = self.listener.connections
        for transport in (member.transport, member._near, relayed):
            self.assertLess(len(transport.dataBuffer) + transport._tempDataLen, 300_000)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        _, body = await deferToThread(reply, client)
        self.assertEqual(hashlib.sha256(body).digest(), hashlib.sha256(pattern_of(size)).digest())

    async def test_parent_that_does_not_read(self) -> None:
        """An upload is held back in the client, and goes on when the parent reads again."""
        client = self.connect()
        client.sendall(b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 20000000\r\n\r\n")
        await self.until(lambda: self.listener.connections, "the connection")
        (relayed,) = self.listener.connections
        (member,) = self.worker.members
        relayed.pauseProducing()
        body = pattern_of(20_000_000)
        sent = 0

        def send() -> int:
            client.settimeout(1)
            try:
                return client.send(body[sent : sent + 1_000_000])
            except TimeoutError:
                return 0

        while piece := await deferToThread(send):
            sent += piece
        self.assertLess(sent, 12_000_000)
        self.assertLess(len(member._near.dataBuffer) + member._near._tempDataLen, 300_000)
        relayed.resumeProducing()
        client.settimeout(20)
        said = await deferToThread(ask, client, body[sent:])
        self.assertEqual(said["sha256"], hashlib.sha256(body).hexdigest())


def pattern_of(size: int) -> bytes:
    """Give what ``/big`` sends, piece by piece."""
    return b"".join(pattern(at, min(30_011, size - at)) for at in range(0, size, 30_011))


class Ends(RelayCase):
    """Every end is the same end on the other side."""

    async def _hanging(self, path: str = "/hang") -> socket.socket:
        client = self.connect()
        client.sendall(get(path))
        await self.until(lambda: self.parent.hang.requests, "the request")
        return client

    async def test_client_leaves(self) -> None:
        """A client that closes in the middle of a reply is gone for the Site within a second."""
        client = await self._hanging()
        client.close()
        await self.until(lambda: self.parent.hang.gone, "the Site to know", 1.0)
        await self.until(lambda: not self.worker.members, "the worker to forget it", 1.0)

    async def test_client_aborts(self) -> None:
        """A client that resets its connection is gone too."""
        client = await self._hanging()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        await self.until(lambda: self.parent.hang.gone, "the Site to know", 1.0)

    async def test_parent_closes(self) -> None:
        """A client gets everything that was sent before the parent closed, then the end."""
        size = 3_000_000

        def talk() -> bytes:
            client = self.connect(_SMALL)
            client.sendall(get(f"/big/{size}", "Connection: close\r\n"))
            data = b""
            while more := client.recv(65536):
                data += more
            return data.partition(b"\r\n\r\n")[2]

        self.assertEqual(await deferToThread(talk), pattern_of(size))
        await self.until(lambda: not self.worker.members, "the worker to forget it")

    async def test_parent_aborts(self) -> None:
        """A client whose reply the parent cut sees a reset, never an end."""
        client = await self._hanging()
        await deferToThread(client.recv, 65536)
        (relayed,) = self.listener.connections
        relayed.abortConnection()
        with self.assertRaises(ConnectionResetError):
            await deferToThread(client.recv, 65536)

    async def test_parent_aborts_before_anything(self) -> None:
        """The same goes before the first byte of a reply."""
        client = await self._hanging("/hang/silent")
        (relayed,) = self.listener.connections
        relayed.abortConnection()
        with self.assertRaises(ConnectionResetError):
            await deferToThread(client.recv, 65536)

    async def test_parent_half_closes(self) -> None:
        """The end of the parent's half reaches the client, whose own half stays open."""
        client = await self._hanging()
        (relayed,) = self.listener.connections
        relayed.write(b"last")
        relayed.loseWriteConnection()

        def rest() -> bytes:
            data = b""
            while more := client.recv(65536):
                data += more
            return data

        self.assertTrue((await deferToThread(rest)).endswith(b"beginlast"))
        self.assertTrue(relayed.connected)
        client.sendall(b"x")
        relayed.loseConnection()
        await self.until(lambda: not self.worker.members, "the worker to forget it")

    async def test_close_when_the_pair_is_full(self) -> None:
        """A close that finds no room waits for it."""
        client = await self._hanging()
        (relayed,) = self.listener.connections
        (member,) = self.worker.members
        member._near.pauseProducing()
        relayed.write(pattern(0, 120_000))
        await self.until(lambda: relayed.offset == 0 and not relayed.dataBuffer, "all to be written")
        filler = 0
        try:
            while True:
                filler += relayed.socket.send(b"f" * 1000)
        except BlockingIOError:
            pass
        # Not a byte more has room; the rest of a frame comes first.
        relayed.write(b"f" * max(1, relayed.socket._left))
        relayed.unregisterProducer()
        relayed.loseConnection()
        member._near.resumeProducing()

        def rest() -> bytes:
            data = b""
            while more := client.recv(65536):
                data += more
            return data

        data = await deferToThread(rest)
        self.assertGreater(data.count(b"f"), filler)

    async def test_population(self) -> None:
        """A drained worker keeps a relayed connection until the parent ends it."""
        client = await self._hanging()
        self.worker.front.drain()
        drained = self.worker.front.drained()
        self.assertFalse(drained.called)
        (relayed,) = self.listener.connections
        relayed.loseConnection()
        await drained
        await deferToThread(client.recv, 65536)

    async def test_abort_all(self) -> None:
        """Connections that are left at the end are cut on both sides."""
        client = await self._hanging()
        self.worker.front.abort_all()
        await self.until(lambda: self.parent.hang.gone, "the Site to know", 1.0)
        await deferToThread(client.recv, 65536)
        with self.assertRaises(ConnectionResetError):
            await deferToThread(client.recv, 65536)
        self.assertFalse(self.worker.members)


class Strict(RelayCase):
    """The parent's Site is the one that a gateway has."""

    def make_site(self, root: Any) -> StrictSite:
        """Make it."""
        self.site = StrictSite(World(reactor=self.reactor, in_thread=deferToThread), root)
        return self.site

    async def test_refused_in_the_middle_of_an_upload(self) -> None:
        """The client can read the refusal although its body is still on the way, then the end."""

        def talk() -> tuple[bytes, bytes]:
            client = self.connect()
            client.sendall(b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3000000\r\n\r\n")
            client.sendall(bytes(3_000_000))
            head, _ = reply(client)
            return head, client.recv(1)

        head, rest = await deferToThread(talk)
        self.assertTrue(head.startswith(b"HTTP/1.1 413"), head)
        self.assertEqual(rest, b"")

    async def test_drain(self) -> None:
        """The parent's drain ends an idle connection at once and a busy one after its reply."""
        idle, busy = self.connect(), self.connect()
        await deferToThread(ask, idle, get("/echo"))
        busy.sendall(get("/hang"))
        await self.until(lambda: self.parent.hang.requests, "the request")
        self.worker.front.drain()
        self.site.drain()
        self.assertEqual(await deferToThread(idle.recv, 1), b"")
        drained = self.worker.front.drained()
        self.assertFalse(drained.called)
        request = self.parent.hang.requests[0]
        request.write(bytes(999_995))
        request.finish()
        _, body = await deferToThread(reply, busy)
        self.assertEqual(len(body), 1_000_000)
        self.assertEqual(await deferToThread(busy.recv, 1), b"")
        await drained
        await self.site.drained()


class Patience(RelayCase):
    """Nobody holds a connection for ever."""

    settings = RelaySettings(write_timeout_s=0.2, flush_s=0.2, linger_s=0.2)

    async def test_client_that_reads_nothing(self) -> None:
        """A client that takes no byte for the time allowed is cut off, and the parent knows."""
        client = self.connect(_SMALL)
        client.sendall(get("/big/30000000"))
        await self.until(lambda: self.listener.connections, "the connection")
        await self.until(lambda: not self.listener.connections, "the end of it")
        await self.until(lambda: not self.worker.members, "the worker to forget it")

    async def test_parent_that_takes_nothing_of_a_client_that_is_gone(self) -> None:
        """What a client sent before it left waits for the parent for a bounded time."""
        client = self.connect()
        client.sendall(b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 20000000\r\n\r\n")
        await self.until(lambda: self.listener.connections, "the connection")
        (relayed,) = self.listener.connections
        (member,) = self.worker.members
        relayed.pauseProducing()
        near = member._near
        while not near.dataBuffer:
            near.write(pattern(0, 60_000))
            near.doWrite()
        client.close()
        await self.until(lambda: not near.connected, "our end to be closed")
        relayed.resumeProducing()
        await self.until(lambda: not self.listener.connections, "the parent to see it")


class Refused(RelayCase):
    """A parent that takes no connection leaves a proper answer to the worker."""

    settings = RelaySettings(linger_s=0.1)
    limits = {"max_connections": 1}

    async def _refused(self, request: bytes = b"") -> bytes:
        def talk() -> bytes:
            client = self.connect()
            client.sendall(request or get("/echo"))
            data = b""
            while more := client.recv(65536):
                data += more
            return data

        data = await deferToThread(talk)
        await self.until(lambda: len(self.worker.members) <= 1, "the worker to forget it")
        return data

    async def test_too_many(self) -> None:
        """A connection beyond the parent's limit gets the 503, and the others go on."""
        first = self.connect()
        await deferToThread(ask, first, get("/echo"))
        for _ in range(2):
            self.assertEqual(await self._refused(), UNAVAILABLE)
        await deferToThread(ask, first, get("/echo"))

    async def test_head(self) -> None:
        """HEAD is answered without a body."""
        self.listener.stop()
        head = await self._refused(b"HEAD /echo HTTP/1.1\r\nHost: h\r\n\r\n")
        self.assertTrue(head.startswith(b"HTTP/1.1 503") and head.endswith(b"\r\n\r\n"), head)

    async def test_channel_closed(self) -> None:
        """So it is when the parent has closed the channel."""
        self.listener.stop()
        self.assertEqual(await self._refused(), UNAVAILABLE)

    async def test_channel_closed_over_a_waiting_connection(self) -> None:
        """A connection that the parent never came to is answered, not cut."""
        self.reactor.removeReader(self.listener)
        client = self.connect()
        client.sendall(get("/echo"))
        await self.until(
            lambda: any(m.__class__.__name__ == "RelayedClient" for m in self.worker.members), "it"
        )
        self.listener.stop()
        head, _ = await deferToThread(reply, client)
        self.assertTrue(head.startswith(b"HTTP/1.1 503"))

    async def test_channel_full(self) -> None:
        """While nothing more fits into the channel, clients are answered at once."""
        self.reactor.removeReader(self.listener)
        self.worker.relay._channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)

        def talk() -> bytes:
            for _ in range(100):
                client = self.connect()
                client.sendall(get("/echo"))
                if select.select([client], [], [], 0.02)[0]:
                    return client.recv(65536)
            return b""

        self.assertEqual(await deferToThread(talk), UNAVAILABLE)

    async def test_worker_stopped(self) -> None:
        """A connection handed over after the relay's end is answered as well."""
        self.worker.relay.doStop()
        self.assertEqual(await self._refused(), UNAVAILABLE)
