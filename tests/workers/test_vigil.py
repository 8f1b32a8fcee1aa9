"""Who is taken for hung, and when a successor starts."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from voidllm.vigil import Hearing, Restarts, Vigil


class TestHearing(SynchronousTestCase):
    """Silence."""

    def test_silent(self) -> None:
        """More than 5 s without a word are too long, for one that has spoken."""
        hearing = Hearing(0.0)
        hearing.heard(10.0)
        self.assertEqual(hearing.silent_s(15.0), 0)
        self.assertEqual(hearing.silent_s(15.5), 5.5)

    def test_starting(self) -> None:
        """One that has not spoken yet has 30 s."""
        hearing = Hearing(10.0)
        self.assertEqual(hearing.silent_s(40.0), 0)
        self.assertEqual(hearing.silent_s(41.0), 31)

    def test_watcher_slept(self) -> None:
        """The time in which nobody listened is nobody's silence, but what came before it is."""
        clock = Clock()
        vigil, hearing, silent = Vigil(clock.seconds), Hearing(0.0, True), Hearing(0.0, True)
        for _ in range(3):
            clock.advance(1)
            hearing.heard(clock.seconds())
            vigil.look([hearing, silent])
        clock.advance(21)
        vigil.look([hearing, silent])
        self.assertEqual([hearing.silent_s(clock.seconds()), silent.silent_s(clock.seconds())], [0, 0])
        clock.advance(1)
        vigil.look([hearing, silent])
        # It has been heard by nobody for 5 s of listening; the other for 2.
        clock.advance(0.5)
        self.assertEqual([hearing.silent_s(clock.seconds()), silent.silent_s(clock.seconds())], [0, 5.5])

    def test_watcher_never_ahead(self) -> None:
        """One that was heard as the first thing after a sleep is not heard in the future."""
        clock = Clock()
        vigil, hearing = Vigil(clock.seconds), Hearing(0.0, True)
        clock.advance(30)
        hearing.heard(clock.seconds())
        vigil.look([hearing])
        self.assertEqual(hearing.since_s, 30)

    def test_watcher_late(self) -> None:
        """A watcher that is always a little late still notices."""
        clock = Clock()
        vigil, hearing = Vigil(clock.seconds), Hearing(0.0, True)
        for _ in range(4):
            clock.advance(1.9)
            vigil.look([hearing])
        self.assertGreater(hearing.silent_s(clock.seconds()), 5)


class TestRestarts(SynchronousTestCase):
    """Back-off."""

    def test_slower(self) -> None:
        """Short lives in a row are replaced more and more slowly; a long one ends the row."""
        restarts = Restarts()
        self.assertEqual([restarts.ended(1, 0.3) for _ in range(5)], [0.2, 1, 5, 5, 5])
        self.assertEqual([restarts.in_a_row(1), restarts.in_a_row(2)], [5, 0])
        self.assertEqual([restarts.ended(1, 60.0), restarts.in_a_row(1)], [0, 0])
        self.assertEqual(restarts.ended(1, 60.0), 0)

    def test_not_started(self) -> None:
        """What could not even be started counts as the shortest of lives."""
        restarts = Restarts()
        self.assertEqual([restarts.ended(1, None) for _ in range(3)], [0.2, 1, 5])

    def test_others(self) -> None:
        """Places do not wait for each other."""
        restarts = Restarts()
        restarts.ended(1, 0.0)
        restarts.ended(1, 0.0)
        self.assertEqual(restarts.ended(2, 0.0), 0.2)
