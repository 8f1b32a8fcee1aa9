"""What a caller may rely on, whichever engine carries the call."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor

from tests.http.rawserver import RawServer, Recorder, ask, ok, real_world
from voidllm.http.pool import UpstreamPool
from voidllm.http.pool_settings import PoolSettings


class EngineBehaviour:
    """Mix this into a trial ``TestCase`` and say how an engine is made from a pool."""

    settings = PoolSettings(tick_s=0.02)

    def make_engine(self, pool: UpstreamPool) -> Any:
        """Make the engine under test."""
        raise NotImplementedError

    def setUp(self) -> None:
        """Start a server, and an engine on a pool."""
        self.server = RawServer(reactor)
        self.pool = UpstreamPool(real_world(reactor), self.settings)
        self.engine = self.make_engine(self.pool)

    async def tearDown(self) -> None:
        """Close both; nothing may be left."""
        for call in list(self.pool._live):
            call.cancel()
        await self.pool.close()
        self.assertEqual((self.pool.open, self.pool.idle, self.pool.busy, self.pool.waiting), (0, 0, 0, 0))
        await self.server.stop()

    def send(self, body: Any = b"{}", **more: Any) -> Recorder:
        """Make a call."""
        sink = Recorder()
        sink.call = self.engine.call(ask(self.server.port, body, **more), sink)
        return sink

    async def test_round_trip(self) -> None:
        """A request arrives as it was given, and its reply comes back."""
        self.server.answer(ok(b"hello", b"X-B: 2"))
        sink = self.send(b'{"a":1}')
        self.assertEqual(await sink.end(), "finished")
        self.assertEqual((sink.status, sink.body), (200, b"hello"))
        self.assertIn((b"x-b", b"2"), sink.headers)
        head, body = self.server.requests[0]
        self.assertEqual(body, b'{"a":1}')
        self.assertTrue(head.startswith(b"POST /v1/x HTTP/1.1\r\n"))
        lines = head.lower().split(b"\r\n")[1:]
        for line in (
            b"host: 127.0.0.1:%d" % self.server.port,
            b"accept-encoding: identity",
            b"connection: keep-alive",
            b"content-length: 7",
            b"x-a: 1",
        ):
            self.assertEqual(lines.count(line), 1)

    async def test_connection_is_used_again(self) -> None:
        """The second call takes the connection of the first."""
        self.server.answer(ok())
        for _ in range(3):
            self.assertEqual(await self.send().end(), "finished")
        self.assertEqual(len(self.server.peers), 1)
        self.assertEqual((self.pool.connects, self.pool.reuses, self.pool.idle), (1, 2, 1))
