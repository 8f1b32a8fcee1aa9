"""Questions to all workers."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from voidllm.census import Census


class TestCensus(SynchronousTestCase):
    """One number of answers, one end."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.census = Census(self.clock)

    def test_all(self) -> None:
        """It fires with the last answer, and leaves no timer."""
        number, done = self.census.ask([1, 2])
        self.census.answered(1, number)
        self.census.answered(1, number)
        self.assertNoResult(done)
        self.census.answered(2, number)
        self.assertIsNone(self.successResultOf(done))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_late(self) -> None:
        """Who does not answer within a second is not waited for; a late answer is nothing."""
        number, done = self.census.ask([1])
        self.clock.advance(1)
        self.successResultOf(done)
        self.census.answered(1, number)

    def test_gone(self) -> None:
        """Who ends owes no answer, to any question."""
        asked = [self.census.ask([1])[1], self.census.ask([1, 2])[1]]
        self.census.gone(1)
        self.successResultOf(asked[0])
        self.assertNoResult(asked[1])

    def test_nobody(self) -> None:
        """A question to nobody is answered."""
        self.successResultOf(self.census.ask([])[1])

    def test_unasked(self) -> None:
        """Numbers that nobody asked for answer no question."""
        _, done = self.census.ask([1])
        self.census.answered(1, 0)
        self.assertNoResult(done)

    def test_close(self) -> None:
        """At the end every question ends."""
        _, done = self.census.ask([1])
        self.census.close()
        self.successResultOf(done)
        self.assertEqual(self.clock.getDelayedCalls(), [])
