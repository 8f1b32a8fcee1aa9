"""Replies in pieces over real sockets: as fast as the client reads, never half of one for a whole."""

from __future__ import annotations

import socket
from typing import Any, AsyncGenerator

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from tests.store.support import sleep, until, world
from voidllm.admin.replies import answer_failure
from voidllm.admin.streaming import Stream, send
from voidllm.core.errors import StoreUnavailable
from voidllm.http.site import StrictSite

_PIECE = b"x" * 100_000


class _Page(Resource):
    """Streams what it is told to, as the application does."""

    isLeaf = True

    def __init__(self, make: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._make = make

    def render(self, request: Any) -> int:
        stream = Stream("text/plain", "file.txt", self._make())
        done = Deferred.fromCoroutine(send(request, stream))
        request.notifyFinish().addErrback(lambda _: done.cancel())

        def write(body: bytes) -> None:
            request.write(body)
            request.finish()

        def failed(failure: Any) -> None:
            if not request.startedWriting:
                write(answer_failure(request, failure))

        done.addCallbacks(write, failed)
        return NOT_DONE_YET


class Streaming(TestCase):
    """One reply each."""

    timeout = 30

    def setUp(self) -> None:
        self.made = 0
        self.closed = 0

    async def _pieces(self, count: int, fails: bool = False) -> AsyncGenerator[bytes, None]:
        try:
            for _ in range(count):
                await sleep(0)
                self.made += 1
                yield _PIECE
            if fails:
                raise StoreUnavailable("gone")
        finally:
            self.closed += 1

    def _connect(self, make: Any) -> socket.socket:
        port: Any = reactor.listenTCP(0, StrictSite(world(), _Page(make)), interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        connected = socket.create_connection(("127.0.0.1", port.getHost().port))
        self.addCleanup(connected.close)
        connected.settimeout(10)
        connected.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        return connected

    @staticmethod
    def _read(connected: socket.socket, end: bytes) -> bytes:
        found = b""
        try:
            while not found.endswith(end):
                data = connected.recv(1 << 20)
                if not data:
                    break
                found += data
        except ConnectionError:
            pass
        return found

    async def test_a_whole_reply(self) -> None:
        """All pieces arrive, and the source is closed; so it is of one that has none."""
        for count in (0, 1, 3):
            connected = self._connect(lambda count=count: self._pieces(count))
            got = await deferToThread(self._read, connected, b"\r\n0\r\n\r\n")
            self.assertIn(b'filename="file.txt"', got)
            self.assertEqual(got.count(b"x" * 100), count * 1000)
        self.assertEqual(self.closed, 3)

    async def test_a_slow_reader(self) -> None:
        """While the client does not read, no more is asked of the source."""
        connected = self._connect(lambda: self._pieces(1000))
        await until(lambda: self.made > 1)
        before = -1
        while before != self.made:
            before = self.made
            await sleep(0.1)
        self.assertLess(self.made, 200)
        got = await deferToThread(self._read, connected, b"\r\n0\r\n\r\n")
        self.assertEqual((self.made, self.closed), (1000, 1))
        self.assertGreater(len(got), 1000 * len(_PIECE))

    async def test_a_client_that_goes(self) -> None:
        """When the client is gone the source is closed."""
        connected = self._connect(lambda: self._pieces(1_000_000))
        await until(lambda: self.made > 1)
        connected.close()
        await until(lambda: self.closed == 1)

    async def test_a_failure_half_way(self) -> None:
        """The connection is cut, so that nobody takes it for the whole; before it begins, it is an error."""
        connected = self._connect(lambda: self._pieces(2, fails=True))
        got = await deferToThread(self._read, connected, b"\r\n0\r\n\r\n")
        self.assertNotIn(b"\r\n0\r\n\r\n", got)
        await until(lambda: self.closed == 1)
        connected = self._connect(lambda: self._pieces(0, fails=True))
        got = await deferToThread(self._read, connected, b"}")
        self.assertIn(b"503 Service Unavailable", got)
        await until(lambda: self.closed == 2)
