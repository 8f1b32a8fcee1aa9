"""Limits and timers of the pool, on a simulated clock and network."""

from __future__ import annotations

from typing import Any

from twisted.internet import defer
from twisted.trial.unittest import SynchronousTestCase

from tests.http.rawserver import RawServer, Recorder, ask, ok
from tests.sim import SimReactor, sim_world
from voidllm.http.pool import UpstreamPool
from voidllm.http.pool_settings import PoolSettings
from voidllm.http.resolve import Resolver
from voidllm.http.upstream import Origin


class SimulatedPoolCase(SynchronousTestCase):
    """A pool, a server and a clock."""

    settings = PoolSettings()

    def setUp(self) -> None:
        """Make them."""
        self.reactor = SimReactor()
        self.server = RawServer(self.reactor)
        self.pool = UpstreamPool(sim_world(self.reactor), self.settings)

    def tearDown(self) -> None:
        """Once all calls are over and the pool is closed, nothing is left in the reactor."""
        for call in list(self.pool._live):
            call.cancel()
        closed = self.pool.close()
        self.reactor.spin(0.1)
        self.successResultOf(closed)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.reactor.open, set())
        numbers = (self.pool.open, self.pool.idle, self.pool.busy, self.pool.waiting)
        self.assertEqual(numbers, (0, 0, 0, 0))

    def send(self, **more: Any) -> Recorder:
        """Make a call."""
        sink = Recorder()
        sink.call = self.pool.call(ask(self.server.port, **more), sink)
        return sink


class IdleTests(SimulatedPoolCase):
    """How long a connection is kept."""

    def test_expiry(self) -> None:
        """An idle connection is kept for four seconds, and then no timer is left either."""
        self.server.answer(ok())
        self.send()
        self.reactor.spin(3.9)
        self.assertEqual(self.pool.idle, 1)
        self.reactor.spin(0.5)
        self.assertEqual((self.pool.idle, self.pool.open), (0, 0))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_server_says_less(self) -> None:
        """The server's own limit counts if it is shorter, never if it is longer."""
        for field, kept in ((b"Keep-Alive: timeout=1, max=9", 1.0), (b"Keep-Alive: timeout=60", 4.0)):
            self.server.answer(ok(b"", field))
            self.send()
            self.reactor.spin(kept - 0.1)
            self.assertEqual(self.pool.idle, 1)
            self.reactor.spin(0.5)
            self.assertEqual(self.pool.idle, 0)

    def test_server_says_none(self) -> None:
        """A limit of zero means that the connection is not kept."""
        self.server.answer(ok(b"", b"Keep-Alive: timeout=0"))
        self.send()
        self.reactor.spin(0.1)
        self.assertEqual((self.pool.idle, self.pool.open), (0, 0))

    def test_expired_is_never_used(self) -> None:
        """Between expiry and the sweep that notices it, a connection is not used."""
        self.server.answer(ok())
        self.send()
        self.reactor.spin(0.1)
        self.pool._groups[Origin("http", "127.0.0.1", self.server.port)].idle[0].expires = 0.0
        sink = self.send()
        self.reactor.spin(0.1)
        self.assertEqual((sink.ended, len(self.server.peers)), ("finished", 2))

    def test_last_in_first_out(self) -> None:
        """The connection used last is used first, so that a surplus can expire."""
        sinks = [self.send(), self.send()]
        self.reactor.spin(0.1)
        first, second = self.server.peers
        second.write(ok())
        self.reactor.spin(0.1)
        first.write(ok())
        self.reactor.spin(0.1)
        self.assertEqual([sink.ended for sink in sinks], ["finished", "finished"])
        first.received = second.received = b""
        self.send()
        self.reactor.spin(0.1)
        self.assertTrue(first.received)
        self.assertFalse(second.received)

    def test_server_closes_idle(self) -> None:
        """A connection closed by the server while idle is forgotten at once."""
        self.server.answer(ok())
        self.send()
        self.reactor.spin(0.1)
        self.server.peers[0].close()
        self.reactor.spin(0.1)
        self.assertEqual((self.pool.idle, self.pool.open), (0, 0))


class QueueTests(SimulatedPoolCase):
    """The cap on connections, and the queue behind it."""

    settings = PoolSettings(max_per_origin=2, max_waiting=2, queue_timeout_s=5.0)

    def test_cap(self) -> None:
        """Calls beyond the cap wait, in order, for the connections that there are."""
        sinks = [self.send(target=b"/%d" % n) for n in range(4)]
        self.reactor.spin(0.1)
        self.assertEqual((len(self.server.peers), self.pool.waiting, self.pool.busy), (2, 2, 2))
        for peer in self.server.peers:
            peer.received = b""
            peer.write(ok())
        self.reactor.spin(0.1)
        self.assertEqual([sink.ended for sink in sinks], ["finished", "finished", "", ""])
        self.assertEqual(sorted(peer.received.split(b" ")[1] for peer in self.server.peers), [b"/2", b"/3"])
        self.assertEqual((len(self.server.peers), self.pool.waiting), (2, 0))

    def test_queue_in_order(self) -> None:
        """The call that waits longest is served first, even before one that comes right now."""
        first, _, _ = (self.send(target=b"/%d" % n) for n in range(3))
        first.end().addCallback(lambda _: self.send(target=b"/now"))
        self.reactor.spin(0.1)
        peer = self.server.peers[0]
        for target in (b"/2", b"/now"):
            peer.received = b""
            peer.write(ok())
            self.reactor.spin(0.01)
            self.assertIn(target + b" ", peer.received)

    def test_full_queue(self) -> None:
        """A call that finds the queue full is told so, after ``call`` has returned."""
        for _ in range(4):
            self.send()
        sink = self.send()
        self.assertEqual(sink.events, [])
        self.reactor.spin(0.01)
        self.assertEqual(sink.ended, "busy")
        assert sink.failure is not None
        self.assertFalse(sink.failure.sent)

    def test_queue_timeout(self) -> None:
        """A call that waited too long is told so."""
        for _ in range(2):
            self.send(head_timeout_s=None)
        sink = self.send()
        self.reactor.spin(4.9)
        self.assertEqual(sink.ended, "")
        self.reactor.spin(0.4)
        self.assertEqual((sink.ended, self.pool.waiting), ("busy", 0))

    def test_cancel_in_queue(self) -> None:
        """A call cancelled in the queue leaves it, and the next moves up."""
        busy = [self.send(), self.send()]
        gone, next_up = self.send(), self.send(target=b"/next")
        self.reactor.spin(0.1)
        gone.call.cancel()
        self.assertEqual(self.pool.waiting, 1)
        busy[0].call.cancel()
        self.reactor.spin(0.1)
        self.assertEqual(self.pool.waiting, 0)
        self.assertIn(b"/next", self.server.peers[-1].received)
        self.assertEqual(next_up.ended, "")

    def test_lost_connection_makes_room(self) -> None:
        """A call in the queue gets a new connection when an old one dies."""
        self.send()
        self.send()
        waiting = self.send()
        self.reactor.spin(0.1)
        self.server.answer(ok())
        self.server.peers[0].close()
        self.reactor.spin(0.1)
        self.assertEqual(waiting.ended, "finished")

    def test_refused_connections_make_room(self) -> None:
        """Calls in the queue are not stuck behind connections that cannot be opened."""
        self.server._listening.stopListening()
        sinks = [self.send() for _ in range(4)]
        self.reactor.spin(0.1)
        self.assertEqual([sink.ended for sink in sinks], ["refused"] * 4)

    def test_close_fails_the_queue(self) -> None:
        """Closing the pool ends what waits."""
        running = [self.send(), self.send()]
        sink = self.send()
        self.reactor.spin(0.1)
        closed = self.pool.close()
        self.assertEqual(sink.ended, "closed")
        self.assertNoResult(closed)
        for peer in self.server.peers:
            peer.write(ok())
        self.reactor.spin(0.1)
        self.successResultOf(closed)
        self.assertEqual([sink.ended for sink in running], ["finished", "finished"])

    def test_stale_connection_at_the_cap(self) -> None:
        """A call whose reused connection was stale is sent again within the cap."""
        self.server.answer(ok())
        first = [self.send(), self.send()]
        self.reactor.spin(0.1)
        self.server.script = None
        second = [self.send(), self.send(), self.send()]
        self.reactor.spin(0.01)
        self.server.answer(ok(b"again"))
        for peer in list(self.server.peers):
            peer.close()
        self.reactor.spin(0.1)
        self.assertEqual([s.ended for s in first + second], ["finished"] * 5)
        self.assertEqual(self.pool.resends, 2)
        self.assertLessEqual(self.server.live, 2)


class TimeTests(SimulatedPoolCase):
    """Each phase has its own limit."""

    def test_head_timeout_is_on_time(self) -> None:
        """A timeout is noticed within a tick."""
        sink = self.send(head_timeout_s=30.0)
        self.reactor.spin(29.9, 0.01)
        self.assertEqual(sink.ended, "")
        self.reactor.spin(0.4, 0.01)
        self.assertEqual(sink.ended, "head_timeout")

    def test_progress_moves_the_stall(self) -> None:
        """A body that trickles is no stall; the limit counts from its last byte."""
        sink = self.send(idle_timeout_s=10.0)
        self.reactor.spin(0.1)
        peer = self.server.peers[0]
        peer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
        for _ in range(5):
            self.reactor.spin(8.0, 0.01)
            peer.write(b"x")
        self.reactor.spin(9.9, 0.01)
        self.assertEqual(sink.ended, "")
        self.reactor.spin(0.5, 0.01)
        self.assertEqual(sink.ended, "stall")

    def test_trickling_head(self) -> None:
        """A head that comes byte by byte does not move its limit."""
        sink = self.send(head_timeout_s=10.0)
        self.reactor.spin(0.1)
        for byte in b"HTTP/1.1 200":
            self.server.peers[0].write(bytes([byte]))
            self.reactor.spin(1.0, 0.01)
        self.assertEqual(sink.ended, "head_timeout")

    def test_no_limits(self) -> None:
        """Limits can be absent."""
        sink = self.send(head_timeout_s=None, idle_timeout_s=None)
        self.reactor.spin(4000, 1.0)
        self.server.peers[0].write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n")
        self.reactor.spin(4000, 1.0)
        self.server.peers[0].write(b"x")
        self.reactor.spin(0.1)
        self.assertEqual(sink.ended, "finished")

    def test_total_while_waiting_for_head(self) -> None:
        """The total limit counts before the head too."""
        sink = self.send(total_timeout_s=2.0)
        self.reactor.spin(2.3)
        self.assertEqual(sink.ended, "head_timeout")


class AddressTests(SynchronousTestCase):
    """Names with several addresses."""

    def test_next_address(self) -> None:
        """If an address refuses, the next one is tried."""
        reactor = SimReactor()
        tried: list[str] = []
        real_connect = reactor.connectTCP

        def connect(host: str, port: int, factory: Any, timeout: float = 30, bindAddress: Any = None) -> Any:
            tried.append(host)
            return real_connect(host, port if host == "192.0.2.2" else 1, factory, timeout)

        reactor.connectTCP = connect  # type: ignore[method-assign]
        server = RawServer(reactor)
        server.answer(ok())
        world = sim_world(reactor)
        resolver = Resolver(world, lambda _: ["2001:db8::1", "192.0.2.1", "192.0.2.2", "192.0.2.3"])
        pool = UpstreamPool(world, resolver=resolver)
        sink = Recorder()
        pool.call(ask(0, origin=Origin("http", "llm.example", server.port)), sink)
        reactor.spin(0.1)
        self.assertEqual(sink.ended, "finished")
        self.assertEqual(tried, ["2001:db8::1", "192.0.2.1", "192.0.2.2"])
        closed = pool.close()
        reactor.spin(0.1)
        self.successResultOf(closed)


class ResolvingTests(SynchronousTestCase):
    """Calls that wait for a name."""

    def setUp(self) -> None:
        """Make a pool whose lookups the test answers."""
        self.reactor = SimReactor()
        self.asked: list[tuple[str, defer.Deferred[list[str]]]] = []

        def in_thread(f: Any, host: str) -> defer.Deferred[list[str]]:
            waiter: defer.Deferred[list[str]] = defer.Deferred()
            self.asked.append((host, waiter))
            return waiter

        world = sim_world(self.reactor)
        slow = type(world)(reactor=self.reactor, in_thread=in_thread)
        self.pool = UpstreamPool(world, resolver=Resolver(slow))
        self.sink = Recorder()
        origin = Origin("http", "llm.example", 80)
        self.call = self.pool.call(ask(0, origin=origin, connect_timeout_s=2.0), self.sink)

    def tearDown(self) -> None:
        """Nothing is left."""
        self.successResultOf(self.pool.close())
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_unknown_name(self) -> None:
        """A name that is not found is a dns failure."""
        self.asked[0][1].errback(OSError("no such name"))
        self.assertEqual(self.sink.ended, "dns")

    def test_slow_name(self) -> None:
        """The connect timeout counts while the name is being resolved."""
        self.reactor.spin(2.3)
        self.assertEqual(self.sink.ended, "connect_timeout")
        self.asked[0][1].callback(["192.0.2.1"])
        self.assertEqual(self.pool.open, 0)

    def test_cancel(self) -> None:
        """A call cancelled meanwhile never connects."""
        self.call.cancel()
        self.asked[0][1].callback(["192.0.2.1"])
        self.reactor.spin(0.1)
        self.assertEqual((self.sink.events, self.pool.connects), ([], 0))
