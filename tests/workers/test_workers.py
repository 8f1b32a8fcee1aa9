"""What the control plane does about its workers, on a clock and with processes in memory."""

from __future__ import annotations

import os
import signal
import socket
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, connectionDone
from twisted.trial.unittest import SynchronousTestCase

from tests.workers.fakes import FakeReactor, FakeWorker, bind
from voidllm.core.principal import Principal
from voidllm.core.snapshot import EMPTY_SNAPSHOT, Snapshot
from voidllm.core.snapshot_delta import apply
from voidllm.core.snapshots import SnapshotHolder
from voidllm.core.world import World
from voidllm.http.pool_settings import PoolSettings
from voidllm.http.settings import FrontSettings
from voidllm.life import environment
from voidllm.link.messages import (
    Alive,
    Change,
    Complete,
    Cut,
    Drain,
    Keys,
    Metrics,
    Open,
    Ready,
    Reload,
    Sealed,
    Setup,
    WantFull,
    WantMetrics,
    Whole,
)
from voidllm.plan import Plan, decode_plan
from voidllm.proxy.settings import ProxySettings
from voidllm.telemetry.fleet import Fleet
from voidllm.telemetry.metrics import Metrics as Counted
from voidllm.usage.settings import UsageSettings
from voidllm.workers import Workers, WorkersCannotStart

PLAN = Plan(
    "",
    "/nowhere",
    FrontSettings(),
    "auto",
    PoolSettings(),
    ProxySettings("/nowhere"),
    UsageSettings(),
    (b"certificate", b"key"),
    "info",
    "json",
)


def snapshot(version: int, *keys: str) -> Snapshot:
    """Make one with some keys."""
    made = {
        key.encode(): Principal(
            key_id=key, key_type="user_key", key_name=key, org_id="o", scopes=frozenset(("inference",))
        )
        for key in keys
    }
    return evolve(EMPTY_SNAPSHOT, version=version, keys=made)


def whole(one: Snapshot) -> list[Any]:
    """Give the messages of a small snapshot."""
    return [Whole(one.version, dict(one.models), one.aliases), Keys(dict(one.keys)), Complete()]


class Case(SynchronousTestCase):
    """Two workers, begun."""

    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.reactor.advance(1000)
        self.holder = SnapshotHolder(snapshot(1, "a"))
        self.own = Counted()
        fleet = Fleet(self.own.registry, (1, 2), self.reactor.seconds)
        self.sealed: list[str] = []
        self.listening: list[socket.socket] = []
        world = World(reactor=self.reactor, in_thread=None, wall_ms=lambda: 1_000_000)  # type: ignore[arg-type]
        self.workers = Workers(world, 2, self.bind, fleet)
        self.fleet = fleet
        self.workers.attach(self.holder, Factory(), PLAN)
        self.lock_fd = os.open(os.devnull, os.O_RDONLY)
        self.addCleanup(os.close, self.lock_fd)
        self.successResultOf(Deferred.fromCoroutine(self.workers.begin(self.lock_fd)))
        self.addCleanup(self.end)

    def bind(self, count: int) -> list[socket.socket]:
        """Listen, and remember."""
        self.listening = bind(count)
        return self.listening

    @property
    def latest(self) -> FakeWorker:
        """Give the worker that was started last."""
        return self.reactor.workers[-1]

    def living(self) -> list[FakeWorker]:
        """Give those that have not ended."""
        return [worker for worker in self.reactor.workers if worker.pid is not None]

    def open(self) -> Deferred[None]:
        """Say that the store is there."""
        return Deferred.fromCoroutine(self.workers.open("box", b"digest", self.sealed.append))

    def opened(self) -> tuple[FakeWorker, FakeWorker]:
        """Have both answer requests."""
        opening = self.open()
        first, second = self.living()
        first.says(Ready())
        self.assertNoResult(opening)
        second.says(Ready())
        self.successResultOf(opening)
        first.got()
        second.got()
        return first, second

    def live(self, seconds: float, *talking: FakeWorker) -> None:
        """Let time pass, in which some say every half second that they live."""
        for _ in range(int(seconds * 2)):
            for worker in talking:
                worker.says(Alive())
            self.reactor.advance(0.5)

    def end(self) -> None:
        """End everything, and see that nothing is left."""
        stopping = Deferred.fromCoroutine(self.workers.stop(1))
        for worker in self.living():
            worker.ends()
        self.successResultOf(stopping)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.reactor.readers, set())
        self.assertEqual({one.fileno() for one in self.listening}, {-1})


class TestStarting(Case):
    """From nothing to answers."""

    def test_setup(self) -> None:
        """Each learns who it is at once, and the rest when the store is there."""
        first, second = self.living()
        (one,), (two,) = first.got(), second.got()
        assert isinstance(one, Setup) and isinstance(two, Setup)
        self.assertTrue(one.listen)
        boots = [decode_plan(told.plan).boot for told in (one, two)]
        self.assertNotEqual(*boots)
        self.assertEqual(self.workers.writers(), [(1, boots[0]), (2, boots[1])])
        self.open().addErrback(lambda _: None)
        self.assertEqual(first.got(), [Open("box", b"digest"), *whole(self.holder.current)])

    def test_certificate_travels(self) -> None:
        """All get the certificate that was read at the start, not its path; nothing prints the key."""
        told = decode_plan(self.latest.got()[0].plan)
        self.assertEqual(told.tls, (b"certificate", b"key"))
        self.assertNotIn("key", repr(told))

    def test_descriptors(self) -> None:
        """A worker inherits its eight descriptors, by number, and none of another worker's."""
        first, second = self.living()
        self.assertEqual(list(first.fds), list(range(8)))
        self.assertEqual(first.fds[7], self.lock_fd)
        self.assertEqual([first.fds[3], second.fds[3]], [one.fileno() for one in self.listening])
        self.assertEqual(first.fds[6], second.fds[6])

    def test_environment(self) -> None:
        """Settings and secrets of the gateway, and what speaks to systemd, are not a worker's."""
        own = {"PATH": "/bin", "VOIDLLM_ENCRYPTION_KEY": "x", "NOTIFY_SOCKET": "/s", "WATCHDOG_USEC": "1"}
        self.assertEqual(environment(own), {"PATH": "/bin"})

    def test_killed_before_the_store(self) -> None:
        """One that is killed before the store is there is replaced, and its successor is told the same."""
        self.live(6, *self.living())
        self.living()[0].ends(signal.SIGKILL)
        self.reactor.advance(0)
        setup = self.latest.got()
        self.assertEqual([type(told) for told in setup], [Setup])
        self.assertTrue(setup[0].listen)
        self.opened()

    def test_killed_at_first_snapshot(self) -> None:
        """One that is killed when it just got its snapshot is waited for; its successor makes it whole."""
        opening = self.open()
        first, second = self.living()
        second.says(Ready())
        first.ends(signal.SIGKILL)
        self.assertNoResult(opening)
        self.reactor.advance(0.2)
        self.assertEqual([type(told) for told in self.latest.got()], [Setup, Open, Whole, Keys, Complete])
        self.latest.says(Ready())
        self.successResultOf(opening)

    def test_ready_once_and_gone(self) -> None:
        """Two that were ready one after the other, never together, are not two."""
        opening = self.open()
        first, second = self.living()
        first.says(Ready())
        first.ends(signal.SIGKILL)
        second.says(Ready())
        self.assertNoResult(opening)
        self.reactor.advance(0.2)
        self.latest.says(Ready())
        self.successResultOf(opening)

    def test_hopeless(self) -> None:
        """A worker that ends three times at once before it could answer is an error of the start."""
        opening = self.open()
        self.living()[0].ends(status=1)
        self.reactor.advance(0.2)
        self.latest.ends(status=1)
        self.reactor.advance(1)
        self.assertNoResult(opening)
        self.latest.ends(status=1)
        self.assertIn("worker 1 has ended 3 times", str(self.failureResultOf(opening, WorkersCannotStart)))

    def test_hopeless_before_the_store(self) -> None:
        """The same, if the store comes later than the third end."""
        for delay_s in (0.2, 1, 0):
            self.living()[0 if delay_s == 0.2 else -1].ends(status=1)
            self.reactor.advance(delay_s)
        self.failureResultOf(self.open(), WorkersCannotStart)


class TestReplacing(Case):
    """Who ends has a successor."""

    def test_at_once(self) -> None:
        """One that was there for long is replaced at once; the successor accepts when it can answer."""
        first, second = self.opened()
        self.live(6, first, second)
        first.ends(signal.SIGKILL)
        self.reactor.advance(0)
        self.assertEqual(len(self.reactor.workers), 3)
        self.assertEqual(self.latest.fds[3], first.fds[3])
        setup, *rest = self.latest.got()
        self.assertFalse(setup.listen)
        self.assertEqual(rest, [Open("box", b"digest"), *whole(self.holder.current)])

    def test_signal_without_a_name(self) -> None:
        """One that ends by a signal that has no name is replaced, too."""
        first, second = self.opened()
        self.live(6, first, second)
        first.ends(signal.SIGRTMIN + 1)
        self.reactor.advance(0)
        self.assertEqual(len(self.living()), 2)

    def test_dead_at_once(self) -> None:
        """One that has ended before the call that starts it returns is replaced as any other."""
        first, second = self.opened()
        self.live(6, first, second)
        self.reactor.deadly = True
        first.ends(signal.SIGKILL)
        self.reactor.advance(0)
        self.reactor.deadly = False
        self.live(1, second)
        self.assertEqual(len(self.reactor.workers), 4)
        self.assertEqual([worker["worker"] for worker in self.workers.roster()], [1, 2])
        self.assertEqual([type(told) for told in self.latest.got()], [Setup, Open, Whole, Keys, Complete])

    def test_no_room(self) -> None:
        """While no process can be made, it is tried again; nothing is left of each try."""
        first, second = self.opened()
        self.live(6, first, second)
        self.reactor.full = True
        before = len(os.listdir("/proc/self/fd"))
        first.ends(signal.SIGKILL)
        for _ in range(20):
            self.live(1, second)
        self.assertEqual(len(self.living()), 1)
        # The relay's channel and the socket of the place are gone with the dead one.
        self.assertLessEqual(len(os.listdir("/proc/self/fd")), before)
        self.reactor.full = False
        self.live(5, second)
        self.assertEqual(len(self.living()), 2)
        self.assertEqual([type(told) for told in self.latest.got()], [Setup, Open, Whole, Keys, Complete])

    def test_deserted(self) -> None:
        """Connections do not wait where nobody comes: that socket is closed, and there is another later."""
        first, second = self.opened()
        self.live(6, first, second)
        place = self.listening[0]
        where = place.getsockname()
        first.ends(signal.SIGKILL)
        self.reactor.advance(0)
        self.latest.ends(status=1)
        self.assertGreaterEqual(place.fileno(), 0)
        self.reactor.advance(0.2)
        self.latest.ends(status=1)
        self.assertEqual(place.fileno(), -1)
        for _ in range(8):
            socket.create_connection(where, 5).close()
        self.reactor.advance(1)
        with socket.socket(fileno=os.dup(self.latest.fds[3])) as new:
            self.assertEqual(new.getsockname(), where)
            self.assertFalse(new.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
        second.ends(signal.SIGKILL)
        self.reactor.advance(0)
        self.latest.ends(status=1)
        self.reactor.advance(0.2)
        self.latest.ends(status=1)
        # The last one that listens stays, so that the address stays ours.
        self.assertGreaterEqual(self.listening[1].fileno(), 0)

    def test_line_broken(self) -> None:
        """One whose line breaks is killed, and replaced when it has ended, once."""
        first, second = self.opened()
        self.live(6, first, second)
        first.link.connectionLost(connectionDone)
        self.assertEqual(first.signals, ["KILL"])
        self.assertEqual(len(self.reactor.workers), 2)
        first.ends(signal.SIGKILL)
        self.reactor.advance(0)
        self.assertEqual(len(self.living()), 2)

    def test_nonsense(self) -> None:
        """One that says what nobody understands is killed."""
        first, second = self.opened()
        first.link.dataReceived(b"\0\0\0\1\xc1")
        self.assertTrue(first.transport.disconnecting)
        first.link.dataReceived(b"\xff\xff\xff\xff")
        self.assertEqual(second.signals, [])

    def test_ended_already(self) -> None:
        """Killing one that has ended is nothing."""
        first, second = self.opened()
        first.pid = None
        self.live(7, second)
        self.assertEqual(first.signals, [])
        first.ends()

    def test_roster(self) -> None:
        """Operators see who there is."""
        first, _ = self.opened()
        self.live(6, *self.living())
        first.ends(signal.SIGKILL)
        self.reactor.advance(0)
        self.assertEqual(
            self.workers.roster(),
            [
                {"worker": 1, "pid": 1002, "uptime_seconds": 0, "ready": False},
                {"worker": 2, "pid": 1001, "uptime_seconds": 6, "ready": True},
            ],
        )


class TestSilence(Case):
    """Who says nothing is killed, once."""

    def test_silent(self) -> None:
        """After more than 5 s of silence."""
        first, second = self.opened()
        self.live(5, second)
        self.assertEqual(first.signals, [])
        self.live(1.5, second)
        self.assertIn("KILL", first.signals)
        self.assertEqual(second.signals, [])

    def test_slow_start(self) -> None:
        """One that has not spoken yet has 30 s."""
        self.live(29)
        self.assertEqual([worker.signals for worker in self.living()], [[], []])
        self.live(3)
        self.assertEqual(["KILL" in worker.signals for worker in self.living()], [True, True])

    def test_control_plane_slept(self) -> None:
        """When it was the control plane that slept, nobody is killed for it."""
        first, second = self.opened()
        self.live(3, first, second)
        self.reactor.advance(20)
        self.reactor.advance(1)
        self.reactor.advance(1)
        self.assertEqual([first.signals, second.signals], [[], []])
        self.live(6, second)
        self.assertIn("KILL", first.signals)
        self.assertEqual(second.signals, [])


class TestChanges(Case):
    """What is in force."""

    def test_difference(self) -> None:
        """A change is sent as what is different, to all."""
        first, second = self.opened()
        self.holder.swap(snapshot(2, "a", "b"))
        (one,), (two,) = first.got(), second.got()
        assert isinstance(one, Change)
        self.assertEqual(one, two)
        self.assertEqual(list(one.delta.keys), [b"b"])

    def test_clogged(self) -> None:
        """One that does not read gets no more, and then the difference, once; the others get the changes."""
        first, second = self.opened()
        first.link.pauseProducing()
        for version in range(2, 52):
            self.holder.swap(snapshot(version, "a", f"k{version}"))
        self.assertEqual(first.got(), [])
        self.assertEqual(len(second.got()), 50)
        first.link.resumeProducing()
        (change,) = first.got()
        self.assertEqual((change.delta.base, change.delta.version), (1, 51))
        self.assertEqual(apply(snapshot(1, "a"), change.delta), snapshot(51, "a", "k51"))
        first.link.pauseProducing()
        first.link.resumeProducing()
        self.assertEqual(first.got(), [])
        self.holder.swap(snapshot(52, "a"))
        self.assertEqual([type(told) for told in first.got()], [Change])

    def test_clogged_before_the_store(self) -> None:
        """One that does not even read what it is to be gets nothing before it is told of the store."""
        first, _ = self.living()
        first.got()
        first.link.pauseProducing()
        self.holder.swap(snapshot(2, "a"))
        first.link.resumeProducing()
        self.assertEqual(first.got(), [])

    def test_gap(self) -> None:
        """One that asks for the whole gets it, however often it asks while it does not read."""
        first, second = self.opened()
        first.says(WantFull())
        self.assertEqual(first.got(), whole(self.holder.current))
        first.link.pauseProducing()
        first.says(*[WantFull()] * 50)
        self.assertEqual(first.got(), [])
        first.link.resumeProducing()
        self.assertEqual(first.got(), whole(self.holder.current))
        self.assertEqual(second.got(), [])

    def test_successor_after_changes(self) -> None:
        """A successor gets the newest, not what its predecessor got."""
        first, second = self.opened()
        self.live(6, first, second)
        self.holder.swap(snapshot(2, "b"))
        first.ends(signal.SIGKILL)
        self.reactor.advance(0)
        self.assertEqual(self.latest.got()[2:], whole(snapshot(2, "b")))

    def test_reload(self) -> None:
        """Another plan goes to all, and is what a successor starts with."""
        first, second = self.opened()
        self.live(6, first, second)
        self.workers.reload(evolve(PLAN, log_level="debug"))
        told = first.got()
        assert isinstance(told[0], Reload)
        boot = dict(self.workers.writers())[1]
        self.assertEqual(decode_plan(told[0].plan), evolve(PLAN, log_level="debug", boot=boot))
        first.ends(signal.SIGKILL)
        self.reactor.advance(0)
        self.assertEqual(decode_plan(self.latest.got()[0].plan).log_level, "debug")

    def test_sealed(self) -> None:
        """The batcher learns of segments that are complete."""
        first, _ = self.opened()
        first.says(Sealed("segment"))
        self.assertEqual(self.sealed, ["segment"])


class TestNumbers(Case):
    """One page for all."""

    def test_asked(self) -> None:
        """All who read are asked; it is over with the last answer."""
        first, second = self.opened()
        asked = self.workers.refresh()
        numbers = Counted()
        first.says(Metrics(first.got()[0].number, numbers.export()))
        self.assertNoResult(asked)
        second.says(Metrics(second.got()[0].number, numbers.export()))
        self.successResultOf(asked)

    def test_one_does_not_read(self) -> None:
        """One that does not read is not asked again and again."""
        first, second = self.opened()
        first.link.pauseProducing()
        asked = self.workers.refresh()
        self.assertEqual(first.got(), [])
        second.says(Metrics(second.got()[0].number, Counted().export()))
        self.successResultOf(asked)

    def test_dies_unasked(self) -> None:
        """One that ends instead of answering is not waited for."""
        first, second = self.opened()
        asked = self.workers.refresh()
        second.says(Metrics(second.got()[0].number, Counted().export()))
        first.ends(signal.SIGKILL)
        self.successResultOf(asked)

    def test_nonsense(self) -> None:
        """Numbers that nobody understands are an answer, and change nothing."""
        first, second = self.opened()
        asked = self.workers.refresh()
        for worker in (first, second):
            worker.says(Metrics(worker.got()[0].number, b"\xc1"))
        self.successResultOf(asked)


class TestEnding(Case):
    """The end."""

    def test_drain(self) -> None:
        """All are told; nobody is replaced; it is over with the last."""
        first, second = self.opened()
        self.workers.drain(25)
        self.assertEqual(first.got(), [Drain(25)])
        stopping = Deferred.fromCoroutine(self.workers.stop(25))
        second.ends(signal.SIGKILL)
        self.assertNoResult(stopping)
        self.live(10, first)
        self.assertEqual(len(self.reactor.workers), 2)
        first.ends()
        self.successResultOf(stopping)

    def test_drain_while_replacing(self) -> None:
        """A successor that was about to be started is not."""
        first, second = self.opened()
        first.ends(signal.SIGKILL)
        self.workers.drain(25)
        self.live(2, second)
        self.assertEqual(len(self.reactor.workers), 2)

    def test_too_late(self) -> None:
        """Who has not ended some seconds after the patience is killed."""
        first, second = self.opened()
        stopping = Deferred.fromCoroutine(self.workers.stop(2))
        self.live(6, first, second)
        self.assertEqual(first.signals, [])
        self.live(1, first, second)
        self.assertEqual([first.signals, second.signals], [["KILL"], ["KILL"]])
        first.ends(signal.SIGKILL)
        second.ends(signal.SIGKILL)
        self.successResultOf(stopping)

    def test_line_closed(self) -> None:
        """One that hangs up while it ends is not killed for it."""
        first, _ = self.opened()
        self.workers.drain(25)
        first.link.connectionLost(connectionDone)
        self.assertEqual(first.signals, [])

    def test_stopped_before_ready(self) -> None:
        """An end that comes before anybody was ready ends the start, too."""
        opening = self.open()
        stopping = Deferred.fromCoroutine(self.workers.stop(2))
        for worker in self.living():
            worker.ends()
        self.successResultOf(stopping)
        self.successResultOf(opening)

    def test_cut(self) -> None:
        """Cutting writes at once, because there is no end of this turn."""
        first, second = self.opened()
        written: list[str] = []
        for worker in (first, second):
            worker.transport.doWrite = lambda: written.append("now")  # type: ignore[attr-defined]
        self.workers.cut()
        self.assertEqual(written, ["now", "now"])
        self.assertEqual(first.got(), [Cut()])
        self.assertEqual(second.got(), [Cut()])

    def test_asked_and_stopped(self) -> None:
        """Questions that nobody answered end with everything."""
        self.opened()
        asked = self.workers.refresh()
        self.workers.drain(1)
        for worker in self.living():
            worker.ends()
        self.successResultOf(asked)

    def test_wants_metrics_message(self) -> None:
        """The question has a number of its own each time."""
        first, _ = self.opened()
        self.workers.refresh()
        self.workers.refresh()
        one, two = first.got()
        assert isinstance(one, WantMetrics) and isinstance(two, WantMetrics)
        self.assertNotEqual(one.number, two.number)
