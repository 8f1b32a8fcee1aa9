"""The search for the highest rate at which the added P99 keeps a bound."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from bench.peers.frontier import BOUNDS_US, CLOSE_ENOUGH, Tried, Window, search


def server(capacity: float) -> list[float]:
    """Give the true frontier of a server whose added P99 is ``1 ms / (1 - rate / capacity)``."""
    return [capacity * (1 - 1000 / bound) for bound in BOUNDS_US]


class Searches(SynchronousTestCase):
    """The bisection over servers that are known."""

    @given(st.floats(50, 50_000), st.floats(1.0, 4.0))
    @settings(max_examples=50, deadline=None)
    def test_known_server(self, capacity: float, over: float) -> None:
        """Each bound's rate is found from below to ten per cent, in few tries, below the ceiling."""
        rates: list[float] = []

        def windows(rate: float) -> list[Window]:
            rates.append(rate)
            if rate >= capacity:
                return [Window(None, errors=1)]
            return [Window(1000 / (1 - rate / capacity))] * 3

        frontier = search(windows, capacity * over, lambda: True)
        for found, true in zip(frontier.found, server(capacity), strict=True):
            self.assertEqual(found.limited_by, "server")
            self.assertLessEqual(found.rps, true)
            self.assertGreaterEqual(found.rps * CLOSE_ENOUGH * 1.001, min(true, capacity * over))
        self.assertLess(len(rates), 30)
        self.assertLess(max(rates), capacity * over)

    def test_one_hiccup(self) -> None:
        """One window of three with a stall, or one that is lucky, does not decide."""
        good, stalled = Window(1000.0), Window(80_000.0)
        self.assertTrue(Tried(100, (good, stalled, good)).holds(5000))
        self.assertFalse(Tried(100, (stalled, good, stalled)).holds(5000))
        self.assertFalse(Tried(100, (Window(None, errors=9),)).holds(50_000))
        self.assertFalse(Tried(100, (Window(10.0, behind=True),)).holds(50_000))

    def test_generator(self) -> None:
        """Where generator or mock end first, the frontier says so, and of whom the next rate was."""

        def windows(rate: float) -> list[Window]:
            return [Window(100.0, generator_late=rate > 1000)] * 3

        for found in search(windows, 9000, lambda: True).found:
            self.assertEqual(found.limited_by, "generator")
            self.assertLess(found.rps, 1001)
            self.assertGreater(found.next_rps or 0, 1000)

    def test_time(self) -> None:
        """Without time nothing more is tried, and each bound says that this is why."""
        left = iter([True, True])
        frontier = search(lambda rate: [Window(100.0)], 9000, lambda: next(left, False))
        self.assertEqual([found.limited_by for found in frontier.found], ["time"] * 3)
        self.assertEqual(len(frontier.tried), 2)
        self.assertEqual(frontier.at(5000).rps, frontier.tried[-1].rate)

    def test_nothing_holds(self) -> None:
        """A server that is slow at any rate has no frontier, and the search ends."""
        frontier = search(lambda rate: [Window(1e6)] * 3, 1000, lambda: True)
        self.assertEqual([found.rps for found in frontier.found], [0.0] * 3)
        self.assertLess(len(frontier.tried), 12)
