"""Signs of life, numbers, and how long an end may take."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from voidllm.core.world import World
from voidllm.ending import Patience
from voidllm.heart import Heart
from voidllm.link.messages import Alive, Metrics


class TestHeart(SynchronousTestCase):
    """A worker's heart."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.sent: list[Any] = []
        self.link = SimpleNamespace(clogged=False, send=self.sent.append)
        self.size = 100
        self.heart = Heart(self.clock, cast(Any, self.link), lambda: bytes(self.size))
        self.heart.start()
        self.addCleanup(self.heart.stop)

    def beats(self, seconds: int) -> list[type]:
        """Let time pass; gives the kinds of what was sent."""
        self.sent.clear()
        for _ in range(seconds):
            self.clock.advance(1)
        return [type(one) for one in self.sent]

    def test_few_numbers(self) -> None:
        """Few numbers go along with every beat."""
        self.assertEqual(self.sent, [Metrics(0, bytes(100))])
        self.assertEqual(self.beats(3), [Metrics] * 3)

    def test_many_numbers(self) -> None:
        """Many go along seldom, but it beats every second, and who asks gets them at once."""
        self.size = 3 * (16 << 10)
        self.assertEqual(self.beats(9), [Metrics, *[Alive] * 3, Metrics, *[Alive] * 3, Metrics])
        self.sent.clear()
        self.heart.tell(7)
        self.assertEqual(self.sent, [Metrics(7, bytes(self.size))])
        self.assertEqual(self.beats(4), [*[Alive] * 3, Metrics])

    def test_very_many(self) -> None:
        """However many, it is every ten seconds."""
        self.size = 1 << 22
        self.beats(1)
        self.assertEqual(self.beats(20).count(Metrics), 2)

    def test_nobody_reads(self) -> None:
        """While the control plane does not read, nothing piles up."""
        self.link.clogged = True
        self.assertEqual(self.beats(100), [])
        self.link.clogged = False
        self.assertEqual(self.beats(1), [Metrics])


class TestPatience(SynchronousTestCase):
    """Waiting with an end."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.patience = Patience(cast(World, SimpleNamespace(reactor=self.clock)), 25)
        self.what: Deferred[None] = Deferred()

    def wait(self) -> Deferred[None]:
        """Begin to wait."""
        return Deferred.fromCoroutine(self.patience.wait(self.what))

    def test_happens(self) -> None:
        """It ends with what is waited for, and leaves no timer."""
        waiting = self.wait()
        self.assertNoResult(waiting)
        self.what.callback(None)
        self.successResultOf(waiting)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_too_long(self) -> None:
        """It ends after its time, and bears what comes later."""
        waiting = self.wait()
        self.clock.advance(25)
        self.successResultOf(waiting)
        self.what.callback(None)

    def test_shortened(self) -> None:
        """It can become shorter while somebody waits, and not longer."""
        waiting = self.wait()
        self.clock.advance(1)
        self.patience.shorten(2)
        self.patience.shorten(60)
        self.clock.advance(1.9)
        self.assertNoResult(waiting)
        self.clock.advance(0.2)
        self.successResultOf(waiting)

    def test_shortened_before(self) -> None:
        """The same before anybody waits."""
        self.patience.shorten(0)
        waiting = self.wait()
        self.clock.advance(0)
        self.successResultOf(waiting)
