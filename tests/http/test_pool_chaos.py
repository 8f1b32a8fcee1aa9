"""Whatever happens in whatever order, the pool's books balance and nothing is left behind."""

from __future__ import annotations

import random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.http.engine_behaviour import Pieces
from tests.http.rawserver import RawServer, Recorder, ask, ok
from tests.sim import SimReactor, sim_world
from voidllm.http.pool import UpstreamPool
from voidllm.http.pool_settings import PoolSettings
from voidllm.http.treq_engine import TreqEngine

_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Chaos:
    """One seeded run: an unreliable server, impatient callers."""

    def __init__(self, seed: int, through_treq: bool) -> None:
        self.rng = random.Random(seed)
        self.reactor = SimReactor()
        self.server = RawServer(self.reactor)
        self.server.script = self.answer
        settings = PoolSettings(max_per_origin=4, max_waiting=6, queue_timeout_s=0.5)
        self.pool = UpstreamPool(sim_world(self.reactor, seed), settings)
        self.engine: Any = TreqEngine(self.pool) if through_treq else self.pool
        self.calls: list[tuple[Recorder, list[str]]] = []

    def later(self, longest_s: float, f: Any, *args: Any) -> None:
        """Do something within some time."""
        self.reactor.callLater(self.rng.random() * longest_s, f, *args)

    def answer(self, peer: Any, head: bytes, body: bytes) -> None:
        """Answer in one of many ways, good and bad."""
        kind = self.rng.randrange(12)
        if kind < 4:
            self.later(0.05, peer.write, ok(b"x" * self.rng.randrange(3000)))
        elif kind == 4:
            peer.write(ok(b"y", b"Connection: close"))
        elif kind == 5:
            peer.close()
        elif kind == 6:
            peer.write(ok(b"z") + b"surplus")
        elif kind == 7:
            peer.write(_CHUNKED)
            self.later(0.1, peer.write, b"3\r\nabc\r\n")
            self.later(0.2, peer.abort)
        elif kind == 8:
            peer.write(_CHUNKED, b"3\r\nabc\r\n", b"0\r\n\r\n")
            self.later(0.3, peer.close)
        elif kind == 9:
            peer.write(b"HTTP/1.0 200 OK\r\n\r\nabc")
            self.later(0.1, peer.close)
        elif kind == 10:
            peer.write(b"nonsense\r\n\r\n")
        # Else it never answers.

    def call(self) -> None:
        """Make a call, and perhaps change one's mind."""
        rng = self.rng
        fate: list[str] = []
        sink = Recorder()
        body: Any = b"{}"
        if rng.random() < 0.3:
            body = Pieces([b"abc"], 3, finish=rng.random() < 0.5)
            self.later(0.1, body.go)
        request = ask(
            self.server.port, body, head_timeout_s=0.4, idle_timeout_s=0.4, may_resend=rng.random() < 0.7
        )
        call = self.engine.call(request, sink)
        self.calls.append((sink, fate))

        def cancel() -> None:
            if not sink.ended:
                fate.append("cancelled")
                call.cancel()
                seen = list(sink.events)
                self.reactor.callLater(2.0, lambda: fate.append("spoke") if sink.events != seen else None)

        if rng.random() < 0.3:
            self.later(0.3, cancel)
        if rng.random() < 0.2:
            call.pause()
            self.later(0.3, call.resume)
        if rng.random() < 0.1:
            sink.on_head = cancel
        if rng.random() < 0.1:
            sink.on_chunk = cancel

    def run(self) -> None:
        """Make calls for a while, then let everything come to rest."""
        for _ in range(40):
            self.later(1.0, self.call)
        self.reactor.spin(9.0, 0.005)


class ChaosTests(SynchronousTestCase):
    """Several seeds on each engine."""

    def check(self, seed: int, through_treq: bool) -> None:
        """Run one seed and look at what is left."""
        chaos = Chaos(seed, through_treq)
        chaos.run()
        pool = chaos.pool
        for sink, fate in chaos.calls:
            self.assertNotIn("spoke", fate)
            self.assertEqual(bool(sink.ended), not fate, (seed, sink.events, fate))
        self.assertEqual(len(chaos.calls), 40)
        numbers = (pool.open, pool.idle, pool.busy, pool.waiting, len(pool._live))
        self.assertEqual(numbers, (0, 0, 0, 0, 0), seed)
        self.assertEqual([group.total for group in pool._groups.values()], [0])
        self.assertEqual(chaos.reactor.open, set())
        self.assertEqual(chaos.reactor.getDelayedCalls(), [])

    def test_direct(self) -> None:
        """The pool by itself."""
        for seed in range(25):
            self.check(seed, through_treq=False)

    def test_treq(self) -> None:
        """Through treq."""
        for seed in range(100, 115):
            self.check(seed, through_treq=True)
